// SPDX-License-Identifier: MIT
#include "fuse/attach_socket.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <cstring>

#include "core/status.h"
#include "fuse/tree.h"

namespace tlsfs {
namespace {

constexpr std::size_t kMaxGuests = 256;
constexpr std::chrono::seconds kPatience{10};  // for a guest that connects and says nothing

// What one message brought.
struct Message {
    std::string text;
    std::vector<UniqueFd> fds;
    uid_t sender = static_cast<uid_t>(-1);
};

void take_control(const msghdr& header, Message& message) {
    for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr;
         c = CMSG_NXTHDR(const_cast<msghdr*>(&header), c)) {
        if (c->cmsg_level != SOL_SOCKET) continue;
        if (c->cmsg_type == SCM_CREDENTIALS) {
            ucred sender{};
            std::memcpy(&sender, CMSG_DATA(c), sizeof sender);
            message.sender = sender.uid;
        }
        if (c->cmsg_type != SCM_RIGHTS) continue;
        const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            message.fds.emplace_back(fd);
        }
    }
}

// What came stays in `message` for the caller to be rid of, whatever else was wrong.
Result<> receive(int fd, Message& message) {
    std::array<char, 64> text{};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(8 * sizeof(int)) + CMSG_SPACE(sizeof(ucred))>
        control{};
    iovec part{text.data(), text.size()};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    const ssize_t size = recvmsg(fd, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (size < 0) return system_failure("attach");
    take_control(header, message);
    if ((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
        return failure(EINVAL, "attach: the message is too large");
    }
    message.text.assign(text.data(), static_cast<std::size_t>(size));
    if (message.text.ends_with('\n')) message.text.pop_back();
    return {};
}

std::string reply_text(const Result<>& outcome) {
    if (outcome) return "ok";
    const char* name = strerrorname_np(outcome.error().code);
    return fmt::format("{} {}", name == nullptr ? "EIO" : name, printable(outcome.error().text));
}

// The child of a process with threads: only system calls from here on.
int bind_in(int listener, const char* mount_point) {
    // Relative, because sun_path holds 107 bytes and a mount point may be longer; and through a
    // descriptor, because the current directory is the whole process's.
    const int root = ::open(mount_point, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0) return errno;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/attach", root);
    const auto* name = reinterpret_cast<const sockaddr*>(&address);
    const int code = ::bind(listener, name, sizeof address) == 0 ? 0 : errno;
    ::close(root);
    return code;
}

int bind_apart(int listener, const char* mount_point, int go) {
    eventfd_t told = 0;
    if (eventfd_read(go, &told) != 0) return 1;
    if (unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return 1;
    // Not "/", which is no mount point in most chroots.
    if (mount(nullptr, mount_point, nullptr, MS_PRIVATE, nullptr) != 0) return 1;
    return bind_in(listener, mount_point) == 0 ? 0 : 1;
}

}  // namespace

// One that has connected.
class AttachSocket::Guest final : public Reactor::Handler,
                                  public std::enable_shared_from_this<Guest> {
 public:
    Guest(std::shared_ptr<AttachSocket> host, UniqueFd fd)
        : host_(std::move(host)), fd_(std::move(fd)) {}

    void begin(Reactor& reactor) {
        watch_ = Reactor::Watch(reactor, fd_.get(), weak_from_this());
        watch_.arm(EPOLLIN);
        reactor.after(kPatience, [weak = weak_from_this()] {
            if (const auto self = weak.lock()) self->host_->leave(self);
        });
    }

    void ready(int) override {
        const std::string reply = reply_text(serve());
        send(fd_.get(), reply.data(), reply.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        host_->leave(shared_from_this());
    }

 private:
    [[nodiscard]] uid_t connected_by() const {
        ucred peer{};
        socklen_t size = sizeof peer;
        const bool known = getsockopt(fd_.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0;
        return known ? peer.uid : static_cast<uid_t>(-1);
    }

    Result<> serve() {
        Message message;
        auto served = receive(fd_.get(), message);
        if (served) served = attach(message);
        for (UniqueFd& unused : message.fds) {
            if (unused.valid()) host_->background_.close(connected_by(), std::move(unused));
        }
        return served;
    }

    Result<> attach(Message& message) {
        const auto number = parse_number(message.text);
        if (!number) return failure(EINVAL, "attach: send the connection's number");
        if (message.fds.empty() || message.fds.size() > 2) {
            return failure(EBADF, "attach: send one or two descriptors");
        }
        const auto connection = host_->registry_.find(*number, message.sender);
        if (!connection) return failure(ENOENT, "attach: no such connection");
        const uid_t owner = connection->owner().uid;
        if (message.sender != owner || connected_by() != owner) {
            return failure(EPERM, "attach: the sender is not the owner");
        }
        UniqueFd write = message.fds.size() == 2 ? std::move(message.fds[1]) : UniqueFd();
        return connection->attach(std::move(message.fds[0]), std::move(write));
    }

    std::shared_ptr<AttachSocket> host_;
    UniqueFd fd_;
    Reactor::Watch watch_;
};

Result<> AttachSocket::open(const std::string& mount_point) {
    UniqueFd listener(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!listener.valid()) return system_failure("attach: socket");
    // Who connected and who sends need not be the same: both have to be the owner. Guests inherit
    // it; set on each, it would come too late for a message that is there when it is accepted.
    const int on = 1;
    setsockopt(listener.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
    if (auto bound = bind(listener.get(), mount_point); !bound) return bound;
    if (listen(listener.get(), SOMAXCONN) != 0) return system_failure("attach");
    const std::scoped_lock guard(lock_);
    listener_ = std::move(listener);
    watch_ = Reactor::Watch(reactor_, listener_.get(), weak_from_this());
    watch_.arm(EPOLLIN);
    listening_ = true;
    return {};
}

// A bound socket keeps the mount busy that it was bound through, and umount(8) would refuse. So a
// child binds it through a copy of the mount, in a mount namespace that ends with the child.
Result<> AttachSocket::bind(int listener, const std::string& mount_point) {
    const UniqueFd go(eventfd(0, EFD_CLOEXEC));
    const pid_t child = fork();
    if (child < 0) return system_failure("attach: fork");
    if (child == 0) _exit(bind_apart(listener, mount_point.c_str(), go.get()));
    binder_ = child;
    eventfd_write(go.get(), 1);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        binder_ = 0;
        return {};
    }
    // No namespaces to be had: then the mount is busy, and goes with us or lazily.
    binder_ = gettid();
    const int code = bind_in(listener, mount_point.c_str());
    binder_ = 0;
    if (code == 0) return {};
    return failure(code, fmt::format("attach: {}", std::strerror(code)));
}

bool AttachSocket::binding(pid_t thread) {
    if (thread == 0 || thread != binder_) return false;
    bound_ = true;
    return true;
}

void AttachSocket::close() {
    std::set<std::shared_ptr<Guest>> last;
    const std::scoped_lock guard(lock_);
    watch_.reset();
    listener_.reset();
    last.swap(guests_);
}

void AttachSocket::leave(const std::shared_ptr<Guest>& guest) {
    const std::scoped_lock guard(lock_);
    guests_.erase(guest);
}

// Who waits to be accepted would wake us again at once. Needs lock_.
void AttachSocket::look_later() {
    reactor_.after(std::chrono::milliseconds{100}, [weak = weak_from_this()] {
        if (const auto self = weak.lock()) self->ready(-1);
    });
}

void AttachSocket::ready(int) {
    const std::scoped_lock guard(lock_);
    if (!listener_.valid()) return;
    watch_.fired();
    for (;;) {
        UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        if (!fd.valid()) {
            if (errno == EMFILE || errno == ENFILE) return look_later();
            break;
        }
        if (guests_.size() >= kMaxGuests) continue;  // closed again: it may try later
        const auto guest = std::make_shared<Guest>(shared_from_this(), std::move(fd));
        guests_.insert(guest);
        guest->begin(reactor_);
    }
    watch_.arm(EPOLLIN);
}

}  // namespace tlsfs
