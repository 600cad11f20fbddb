// SPDX-License-Identifier: MIT
#include "agent/agent.h"

#include <fmt/format.h>
#include <sys/epoll.h>

#include <algorithm>
#include <limits>
#include <tuple>

#include "connection/caller.h"

namespace tlsfs {
namespace {

// kmod/tlsdev.h: the low half of an id is the connection's number.
Connection::Number number_of(__u64 id) {
    return static_cast<Connection::Number>(id);
}

}  // namespace

// One connection in the module.
class Agent::End final : public KernelEnd {
 public:
    End(std::shared_ptr<AgentDevice> device, __u64 id) : device_(std::move(device)), id_(id) {}

    void busy() override { set(TLSDEV_STATE_HANDSHAKING, 0); }
    void idle(int code) override { set(TLSDEV_STATE_NEW, code); }
    [[nodiscard]] Result<> carry(const UniqueFd& ktls_socket) override {
        return device_->set_state(id_, TLSDEV_STATE_KERNEL, 0, ktls_socket.get());
    }
    void left_to_us() override { set(TLSDEV_STATE_USER, 0); }
    void failed(int code) override { set(TLSDEV_STATE_FAILED, code); }
    [[nodiscard]] Result<> end_writing() override { return device_->end(id_, TLSDEV_END_WRITING); }
    [[nodiscard]] Result<> end() override { return device_->end(id_, TLSDEV_END_ALL); }
    void remember(const std::string& status) override { device_->leave_blob(id_, status); }
    [[nodiscard]] std::optional<KernelStatus> look() const override {
        const auto now = device_->query(id_);
        if (!now) return std::nullopt;
        KernelStatus status;
        status.read_over = (now->flags & TLSDEV_STATUS_READ_OVER) != 0;
        status.write_over = (now->flags & TLSDEV_STATUS_WRITE_OVER) != 0;
        status.read_error = now->read_error;
        if (now->alert_in != TLSDEV_NO_ALERT) status.alert_in = static_cast<int>(now->alert_in);
        status.data_in = now->data_in;
        status.data_out = now->data_out;
        status.wire_in = now->wire_in;
        status.wire_out = now->wire_out;
        status.records_in = now->records_in;
        status.records_out = now->records_out;
        return status;
    }
    void forget() override { device_->forget(id_); }

 private:
    // Refused only where the last file was closed meanwhile, and the CLOSED event says that.
    void set(tlsdev_state state, int error) {
        std::ignore = device_->set_state(id_, state, error, -1);
    }

    std::shared_ptr<AgentDevice> device_;
    __u64 id_;
};

// One write to a ctl of the module.
class Agent::Lines final : public CtlRequest {
 public:
    Lines(std::shared_ptr<AgentDevice> device, std::shared_ptr<Waiting> waiting,
          const AgentDevice::Event& event)
        : CtlRequest((event.head.flags & TLSDEV_LINES_NONBLOCK) != 0,
                     std::as_bytes(std::span(event.body))),
          device_(std::move(device)),
          waiting_(std::move(waiting)),
          head_(event.head),
          mark_(std::make_shared<std::atomic<bool>>(false)) {
        const std::scoped_lock guard(waiting_->lock);
        waiting_->marks[key()] = mark_;
    }
    Lines(const Lines&) = delete;
    Lines& operator=(const Lines&) = delete;
    ~Lines() override {
        const std::scoped_lock guard(waiting_->lock);
        waiting_->marks.erase(key());
    }

    [[nodiscard]] bool interrupted() const override { return *mark_; }
    void fail(int code) override { device_->answer(head_.id, head_.seq, code); }
    void reply(std::size_t) override { device_->answer(head_.id, head_.seq, 0); }

    // The module has looked the numbers up, in the order in which the line names them.
    [[nodiscard]] Result<UniqueFd> take_fd(int number) const override {
        if (head_.carrier_error != 0) {
            return failure(head_.carrier_error,
                           fmt::format("fd: descriptor {} is not to be had", number));
        }
        if (next_transport_ >= head_.carriers) return failure(EBUSY, "fd: said twice");
        return device_->take_transport(head_.id, head_.seq, next_transport_++);
    }

    // The writer may be gone before we look at it, and its process id somebody else's: its groups
    // are not asked for.
    [[nodiscard]] Result<std::optional<Identity>> dial_as(bool path) const override {
        if ((head_.flags & TLSDEV_LINES_SAME_NET) == 0) {
            return failure(EPERM, "dial: the caller is in another network namespace");
        }
        if (path && !shares_files(head_.pid))
            return failure(EPERM, "dial: the caller sees other files");
        return Identity{head_.uid, head_.gid, {}};
    }

 private:
    [[nodiscard]] std::pair<__u64, __u32> key() const { return {head_.id, head_.seq}; }

    std::shared_ptr<AgentDevice> device_;
    std::shared_ptr<Waiting> waiting_;
    tlsdev_event head_;
    std::shared_ptr<std::atomic<bool>> mark_;
    mutable unsigned next_transport_ = 0;
};

void Agent::start() {
    {
        const std::scoped_lock guard(lock_);
        watch_ = Reactor::Watch(reactor_, device_->fd(), weak_from_this());
    }
    ready(device_->fd());
}

void Agent::limit(const Limits& limits) {
    constexpr std::size_t kMost = std::numeric_limits<__u32>::max();
    device_->limit({static_cast<__u32>(std::min(limits.connections, kMost)),
                    static_cast<__u32>(std::min(limits.per_user, kMost))});
}

void Agent::ready(int) {
    while (const auto event = device_->next_event()) take(*event);
    const std::scoped_lock guard(lock_);
    watch_.fired();
    watch_.arm(EPOLLIN);
}

void Agent::take(const AgentDevice::Event& event) {
    switch (event.head.type) {
        case TLSDEV_EVENT_OPEN:
            return open(event.head);
        case TLSDEV_EVENT_ADOPT:
            return adopt(event);
        case TLSDEV_EVENT_LINES:
            return lines(event);
        case TLSDEV_EVENT_INTERRUPT:
            return interrupt(event.head);
        case TLSDEV_EVENT_HANDSHAKE:
            if (const auto connection = find(event.head.id)) connection->absorb(event.body);
            return;
        case TLSDEV_EVENT_CLOSED:
            if (const auto connection = find(event.head.id)) {
                registry_.release(connection);
            } else {
                device_->forget(event.head.id);
            }
            return;
        default:
            return;
    }
}

std::shared_ptr<Connection> Agent::find(__u64 id) const {
    constexpr uid_t kAnybody = 0;
    return registry_.find(number_of(id), kAnybody);
}

void Agent::open(const tlsdev_event& head) {
    const auto made = registry_.create({head.uid, head.gid}, number_of(head.id),
                                       std::make_unique<End>(device_, head.id));
    const int error = made ? 0 : made.error().code;
    std::ignore =
        device_->set_state(head.id, made ? TLSDEV_STATE_NEW : TLSDEV_STATE_FAILED, error, -1);
}

void Agent::adopt(const AgentDevice::Event& event) {
    const auto made = registry_.create({event.head.uid, event.head.gid}, number_of(event.head.id),
                                       std::make_unique<End>(device_, event.head.id));
    // Over a limit it has no name, and lives on.
    if (made) (*made)->adopt(parse_status(std::string(event.body)));
}

void Agent::lines(const AgentDevice::Event& event) {
    const auto connection = find(event.head.id);
    if (!connection) return device_->answer(event.head.id, event.head.seq, ENODEV);
    // The module has seen to it that the writer is the opener; a ctl can be opened by others.
    if (!may_command({event.head.uid, event.head.gid}, connection->owner(), event.body)) {
        return device_->answer(event.head.id, event.head.seq, EPERM);
    }
    connection->ctl(std::make_unique<Lines>(device_, waiting_, event));
}

void Agent::interrupt(const tlsdev_event& head) {
    {
        const std::scoped_lock guard(waiting_->lock);
        const auto found = waiting_->marks.find({head.id, head.seq});
        if (found == waiting_->marks.end()) return;
        *found->second = true;
    }
    if (const auto connection = find(head.id)) connection->signalled();
}

}  // namespace tlsfs
