// SPDX-License-Identifier: MIT
#include "attach/guest.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

namespace tlsfs {
namespace {

constexpr std::chrono::seconds kPatience{10};    // for one that connects and says nothing
constexpr std::uint32_t kOnlyHangup = EPOLLPRI;  // which never comes; a hang-up is always told

short events_of(int fd) {
    pollfd entry{fd, POLLIN, 0};
    return poll(&entry, 1, 0) == 1 ? entry.revents : short{0};
}

// Ends an attempt that nobody waits for any more.
class Hangup final : public CtlRequest {
 public:
    Hangup() : CtlRequest(false, std::as_bytes(std::span(kLine))) {}
    [[nodiscard]] bool interrupted() const override { return false; }
    void fail(int) override {}
    void reply(std::size_t) override {}
    [[nodiscard]] Result<UniqueFd> take_fd(int) const override { return failure(EBADF, "hangup"); }
    [[nodiscard]] Result<std::optional<Identity>> dial_as(bool) const override {
        return failure(EPERM, "hangup");
    }

 private:
    static constexpr std::string_view kLine = "hangup";
};

// What is left unread may have descriptors with it, which the kernel would close with the socket.
void close_drained(AttachFront& front, uid_t user, UniqueFd fd) {
    shutdown(fd.get(), SHUT_RD);
    for (;;) {
        Packet packet;
        const auto received = receive_packet(fd.get(), packet);
        front.discard(user, packet.fds);
        if (received ? !packet.sender : received.error().code != EINVAL) return;
    }
}

}  // namespace

void AttachGuest::begin() {
    const std::scoped_lock guard(lock_);
    watch_ = Reactor::Watch(front_->reactor(), fd_.get(), weak_from_this());
    watch_.arm(EPOLLIN);
    front_->reactor().after(kPatience, [weak = std::weak_ptr(shared_from_this())] {
        if (const auto self = weak.lock(); self && !self->spoke_) self->end();
    });
}

void AttachGuest::ready(int) {
    Packet packet;
    Result<> received;
    bool gone = false;
    {
        const std::scoped_lock guard(lock_);
        if (!fd_.valid()) return;
        watch_.fired();
        if (busy_) {
            gone = (events_of(fd_.get()) & POLLHUP) != 0;
            if (!gone) watch_.arm(kOnlyHangup);
            if (!gone) return;
        } else {
            received = receive_packet(fd_.get(), packet);
            if (!received && received.error().code == EAGAIN) return watch_.arm(EPOLLIN);
            gone = received ? !packet.sender : received.error().code != EINVAL;
            busy_ = spoke_ = !gone;
        }
    }
    if (gone) return end();
    serve(std::move(packet), received);
    const std::scoped_lock guard(lock_);
    if (busy_) watch_.arm(kOnlyHangup);
}

void AttachGuest::end() {
    UniqueFd fd;
    std::shared_ptr<Connection> connection;
    bool attempt = false, held = false, tied = false;
    {
        const std::scoped_lock guard(lock_);
        if (!fd_.valid()) return;
        watch_.reset();
        fd = std::move(fd_);
        connection = opened_;
        attempt = connection && !told_;
        tied = connection && told_ && tied_ && !over_;
        held = std::exchange(holds_, false);
    }
    close_drained(*front_, user_, std::move(fd));
    front_->leave(shared_from_this(), user_);
    if (tied) connection->let_go();
    if (attempt) connection->ctl(std::make_unique<Hangup>());
    if (held) front_->registry().release(connection);
}

bool AttachGuest::gone() {
    const std::scoped_lock guard(lock_);
    return !fd_.valid();
}

// Needs lock_. True: the guest is to be ended.
bool AttachGuest::send_answer(const std::string& text, int attached) {
    if (!fd_.valid()) return false;
    busy_ = false;
    // One that does not read its answers has no use of more.
    if (!send_packet(fd_.get(), text, attached) || over_) return true;
    watch_.arm(EPOLLIN);
    return false;
}

void AttachGuest::answer(const OrderPtr& order, const std::string& text, int attached) {
    // First, so that who is told finds nothing of it left.
    finish(*order);
    bool ends = false;
    {
        const std::scoped_lock guard(lock_);
        ends = send_answer(text, attached);
    }
    if (ends) end();
}

void AttachGuest::refuse(const OrderPtr& order, const Error& error) {
    bool held = false;
    {
        const std::scoped_lock guard(lock_);
        if (opened_ && order->opens() && opened_ == order->connection) {
            opened_.reset();
            held = std::exchange(holds_, false);
        }
    }
    // First, so that who is told can open the next.
    if (held) front_->registry().release(order->connection);
    answer(order, failure_text(error));
}

void AttachGuest::finish(Order& order) const {
    front_->discard(user_, order.fds);
    if (std::exchange(order.counted, false)) front_->registry().release(order.connection);
}

void AttachGuest::let_go(const std::shared_ptr<Connection>& connection) {
    {
        const std::scoped_lock guard(lock_);
        if (opened_ != connection || !std::exchange(holds_, false)) return;
    }
    front_->registry().release(connection);
}

void AttachGuest::changed(const std::string& status) {
    const std::scoped_lock guard(lock_);
    if (!told_ || !fd_.valid()) return;
    // One that does not read loses it.
    const std::string text = "state\n";
    (void)send_packet(fd_.get(), text + cut_to_lines(status, kMaxMessage - text.size()));
}

bool AttachGuest::over() {
    {
        const std::scoped_lock guard(lock_);
        if (!opened_ || !fd_.valid()) return false;
        over_ = true;
        if (busy_ || !told_) return false;  // its answer comes first
    }
    end();
    return true;
}

}  // namespace tlsfs
