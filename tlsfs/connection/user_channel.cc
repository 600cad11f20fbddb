// SPDX-License-Identifier: MIT
#include "connection/user_channel.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <array>

namespace tlsfs {
namespace {

// Of the socketpair behind the file data: what a program may write before it waits, in bytes. The
// kernel may allow less.
constexpr int kPairBuffer = 1 << 20;

Result<std::array<UniqueFd, 2>> make_pair() {
    std::array<int, 2> fds{};
    constexpr int kType = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
    if (socketpair(AF_UNIX, kType, 0, fds.data()) != 0) return system_failure("data: socketpair");
    for (const int fd : fds) {
        if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &kPairBuffer, sizeof kPairBuffer) != 0) {
            setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &kPairBuffer, sizeof kPairBuffer);
        }
    }
    return std::array{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

}  // namespace

UserChannel::UserChannel(const Services& services, ConnectionEvents& events, Facts& facts,
                         std::unique_ptr<RecordStream> stream)
    : services_(services),
      events_(events),
      facts_(facts),
      relay_(std::make_shared<Relay>(
          services.reactor, std::move(stream),
          std::shared_ptr<Relay::Listener>(events.shared_from_this(), this))) {}

Result<> UserChannel::close(Answers& answers) {
    if (data_) data_->end_writing();
    answers.first([relay = relay_] { relay->close(); });
    return {};
}

Result<> UserChannel::hangup(Answers& answers) {
    answers.first([relay = relay_] { relay->end({}); });
    fail_waiting(ECONNABORTED, answers);
    return {};
}

// Nobody can be waiting but whoever lost a race.
void UserChannel::release(Answers& answers) {
    answers.first([relay = relay_] { relay->release(); });
    fail_waiting(ECONNABORTED, answers);
}

void UserChannel::abandon(const Error& error, Answers& answers) {
    answers.first([relay = relay_, error] {
        relay->close();
        relay->end(error);
    });
    fail_waiting(error.code, answers);
}

// Behind what is to be done with the relay, to which this looks like the program's close.
void UserChannel::fail_waiting(int code, Answers& answers) {
    end_code_ = code;
    if (!data_) return;
    answers.first([self = events_.shared_from_this(), this, code] { data_->fail(code); });
}

void UserChannel::signalled() {
    if (data_) data_->signalled();
}

Result<> UserChannel::check_free(const char* what) const {
    if (!data_ && !holds_) return {};
    return failure(EBUSY, fmt::format("{}: there is a plain side already", what));
}

tl::unexpected<Error> UserChannel::gone(const char* what) const {
    return failure(facts_.gone_code(), fmt::format("{}the connection is over", what));
}

// From now on the plain side keeps the connection alive, as an open file would.
Result<> UserChannel::begin(PlainSide plain) {
    if (!relay_->begin(std::move(plain))) return gone("");
    ++facts_.opens;
    holds_ = true;
    return {};
}

Result<> UserChannel::take_plain(ByteStream given) {
    return begin(PlainSide(PlainSide::Kind::given, std::move(given)));
}

Result<> UserChannel::open_data() {
    if (end_code_ != 0) return gone("data: ");
    if (data_) return {};
    if (auto free = check_free("data"); !free) return free;
    auto pair = make_pair();
    if (!pair) return tl::unexpected(pair.error());
    PlainSide plain(PlainSide::Kind::file, ByteStream::own_socket(std::move((*pair)[0])));
    data_ = std::make_unique<DataStream>(std::move((*pair)[1]), *this);
    data_stream_ = data_.get();
    if (!relay_->begin(std::move(plain))) return gone("data: ");
    return {};
}

// The program's end of a TCP pair that has the transport's addresses.
Result<UniqueFd> UserChannel::data_socket() {
    if (auto free = check_free("data socket"); !free) return tl::unexpected(free.error());
    if (services_.pairs == nullptr) {
        return failure(EOPNOTSUPP, "data socket: no network namespace can be made here");
    }
    const auto addresses = relay_->addresses();
    auto pair = addresses ? services_.pairs->make(addresses->local, addresses->remote)
                          : services_.pairs->make();
    if (!pair) return tl::unexpected(pair.error());
    PlainSide plain(PlainSide::Kind::socket, ByteStream::own_socket(std::move(pair->ours)));
    if (auto begun = begin(std::move(plain)); !begun) return tl::unexpected(begun.error());
    return std::move(pair->programs);
}

void UserChannel::plain_moved() {
    if (DataStream* data = data_stream_) data->moved();
}

int UserChannel::end_code() {
    if (const int code = end_code_; code != 0) return code;
    const auto now = relay_->look();
    return now.failure ? now.failure->code : 0;
}

int UserChannel::write_code() {
    const int code = end_code();
    return code != 0 ? code : EPIPE;
}

}  // namespace tlsfs
