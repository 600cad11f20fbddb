// SPDX-License-Identifier: MIT
#include "io/socket_pairs.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>

namespace tlsfs {
namespace {

constexpr timeval kHelperTimeout{5, 0};  // for the helper, which answers in microseconds

struct Request {
    sockaddr_storage local{}, remote{};
};

struct Answer {
    int code = 0;  // 0: the pair comes with it, ours first
    std::array<char, 256> text{};
};

using PairControl = std::array<char, CMSG_SPACE(2 * sizeof(int))>;

Answer answer_of(const Error& error) {
    Answer answer{error.code, {}};
    std::snprintf(answer.text.data(), answer.text.size(), "%s", error.text.c_str());
    return answer;
}

Error error_of(const Answer& answer) {
    const std::string_view text(answer.text.data(), answer.text.size());
    return {answer.code, std::string(text.substr(0, text.find('\0')))};
}

// ---- The helper's side

void leave_everything(int channel) {
    setsid();
    prctl(PR_SET_NAME, "tlsfs-sockets");
    for (const int number : {SIGHUP, SIGINT, SIGTERM, SIGPIPE}) signal(number, SIG_IGN);
    const int nothing = open("/dev/null", O_RDWR);
    for (const int standard : {0, 1, 2}) dup2(nothing, standard);
    if (channel > 3) close_range(3, static_cast<unsigned>(channel) - 1, 0);
    close_range(static_cast<unsigned>(channel) + 1, ~0U, 0);
    if (chdir("/") != 0) _exit(1);
}

// What is left: to make namespaces, to give a new one its device and routes, and to bind to low
// ports. In a user namespace of our own it means nothing outside.
bool drop_rights() {
    constexpr std::uint32_t kept =
        1U << CAP_SYS_ADMIN | 1U << CAP_NET_ADMIN | 1U << CAP_NET_BIND_SERVICE;
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> sets{};
    if (syscall(SYS_capget, &header, sets.data()) != 0) return false;
    sets[0].effective &= kept;
    sets[0].permitted &= kept;
    sets[0].inheritable = 0;
    sets[1] = {};
    return syscall(SYS_capset, &header, sets.data()) == 0 &&
           prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

bool send_answer(int channel, const Answer& answer, const DataPair* pair) {
    Answer copy = answer;
    iovec part{&copy, sizeof copy};
    alignas(cmsghdr) PairControl control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (pair != nullptr) {
        const std::array<int, 2> numbers{pair->ours.get(), pair->programs.get()};
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        cmsghdr* header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof numbers);
        std::memcpy(CMSG_DATA(header), numbers.data(), sizeof numbers);
    }
    return sendmsg(channel, &message, MSG_NOSIGNAL) == sizeof copy;
}

bool answer_one(int channel, PairMaker& maker) {
    Request request;
    const ssize_t size = recv(channel, &request, sizeof request, 0);
    if (size < 0 && errno == EINTR) return true;
    if (size != sizeof request) return false;  // the companion is gone
    const auto pair = maker.make(request.local, request.remote);
    if (!pair) return send_answer(channel, answer_of(pair.error()), nullptr);
    return send_answer(channel, {}, &*pair);
}

[[noreturn]] void help(int channel) {
    leave_everything(channel);
    auto maker = PairMaker::start();
    if (maker && !drop_rights()) _exit(1);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const Answer first = maker ? Answer{} : answer_of(maker.error());
    if (!send_answer(channel, first, nullptr) || !maker) _exit(0);
    while (answer_one(channel, *maker)) continue;
    _exit(0);
}

// ---- The companion's side

Result<> take_ends(const msghdr& message, DataPair& pair) {
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr;
         c = CMSG_NXTHDR(const_cast<msghdr*>(&message), c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
        std::array<int, 2> numbers{-1, -1};
        std::memcpy(numbers.data(), CMSG_DATA(c),
                    std::min<std::size_t>(c->cmsg_len - CMSG_LEN(0), sizeof numbers));
        pair.ours = UniqueFd(numbers[0]);
        pair.programs = UniqueFd(numbers[1]);
    }
    if ((message.msg_flags & MSG_CTRUNC) != 0) {
        return failure(EMFILE, "data socket: no descriptors left");
    }
    return {};
}

struct Received {
    Answer answer;
    DataPair pair;
};

// Fails only if there was no answer.
Result<Received> receive_answer(int channel) {
    Received received;
    iovec part{&received.answer, sizeof received.answer};
    alignas(cmsghdr) PairControl control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    ssize_t size = 0;
    while ((size = recvmsg(channel, &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) continue;
    if (size < 0) return system_failure("data socket: its maker");
    if (size != sizeof received.answer) return failure(EPIPE, "data socket: its maker has ended");
    if (auto taken = take_ends(message, received.pair); !taken) {
        received.answer = answer_of(taken.error());
        received.pair = {};
    }
    return received;
}

}  // namespace

Result<std::unique_ptr<SocketPairs>> SocketPairs::start() {
    std::array<int, 2> ends{};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
        return system_failure("socketpair");
    }
    UniqueFd ours(ends[0]), theirs(ends[1]);
    const pid_t helper = fork();
    if (helper < 0) return system_failure("fork");
    if (helper == 0) help(theirs.get());
    theirs.reset();
    setsockopt(ours.get(), SOL_SOCKET, SO_RCVTIMEO, &kHelperTimeout, sizeof kHelperTimeout);
    setsockopt(ours.get(), SOL_SOCKET, SO_SNDTIMEO, &kHelperTimeout, sizeof kHelperTimeout);
    std::unique_ptr<SocketPairs> pairs(new SocketPairs(helper, std::move(ours)));
    if (auto there = pairs->await_helper(); !there) return tl::unexpected(there.error());
    return pairs;
}

SocketPairs::~SocketPairs() {
    end_helper();
}

Result<> SocketPairs::await_helper() {
    const auto first = receive_answer(channel_.get());
    if (!first) return failure(EOPNOTSUPP, first.error().text);
    if (first->answer.code != 0) return failure(EOPNOTSUPP, error_of(first->answer).text);
    return {};
}

void SocketPairs::end_helper() {
    channel_.reset();
    if (helper_ <= 0) return;
    kill(helper_, SIGKILL);
    while (waitpid(helper_, nullptr, 0) < 0 && errno == EINTR) continue;
    helper_ = 0;
}

Result<DataPair> SocketPairs::make(const sockaddr_storage& local, const sockaddr_storage& remote) {
    const std::scoped_lock guard(lock_);
    if (!channel_.valid()) return failure(EOPNOTSUPP, "data socket: its maker has ended");
    const Request request{local, remote};
    const bool sent = send(channel_.get(), &request, sizeof request, MSG_NOSIGNAL) ==
                      static_cast<ssize_t>(sizeof request);
    auto received = sent ? receive_answer(channel_.get())
                         : Result<Received>(system_failure("data socket: its maker"));
    if (!received) {
        end_helper();  // a late answer would be taken for the next one's
        return failure(EOPNOTSUPP, received.error().text);
    }
    if (received->answer.code != 0) return tl::unexpected(error_of(received->answer));
    return std::move(received->pair);
}

Result<DataPair> SocketPairs::make() {
    sockaddr_storage any{};
    auto& in = reinterpret_cast<sockaddr_in&>(any);
    in.sin_family = AF_INET;
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return make(any, any);
}

}  // namespace tlsfs
