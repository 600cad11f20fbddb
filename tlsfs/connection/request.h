// SPDX-License-Identifier: MIT
// What a caller asks of a connection, without saying how the question came. Each request is
// answered exactly once, on any thread, and with no lock held but where a large write is answered
// first.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <span>

#include "core/result.h"
#include "core/unique_fd.h"
#include "io/dial.h"

namespace tlsfs {

struct Caller {
    uid_t uid = 0;
    gid_t gid = 0;
    bool operator==(const Caller&) const = default;
};

class Request {
 public:
    explicit Request(bool nonblocking) : nonblocking_(nonblocking) {}
    Request(const Request&) = delete;
    Request& operator=(const Request&) = delete;
    virtual ~Request() = default;

    [[nodiscard]] bool nonblocking() const { return nonblocking_; }
    // A signal has come for the caller: answer now.
    [[nodiscard]] virtual bool interrupted() const = 0;
    virtual void fail(int code) = 0;

 private:
    bool nonblocking_;
};

class ReadRequest : public Request {
 public:
    ReadRequest(bool nonblocking, std::size_t size) : Request(nonblocking), size_(size) {}
    [[nodiscard]] std::size_t size() const { return size_; }
    virtual void reply(std::span<const std::byte> data) = 0;  // empty: end of file

 private:
    std::size_t size_;
};

class WriteRequest : public Request {
 public:
    WriteRequest(bool nonblocking, std::span<const std::byte> data)
        : Request(nonblocking), data_(data), size_(data.size()) {}
    // Only until the call that brings the request returns.
    [[nodiscard]] std::span<const std::byte> data() const { return data_; }
    [[nodiscard]] std::size_t size() const { return size_; }
    virtual void reply(std::size_t count) = 0;

 private:
    std::span<const std::byte> data_;
    std::size_t size_;
};

// A write to `ctl`. Its lines may name what belongs to the writer.
class CtlRequest : public WriteRequest {
 public:
    using WriteRequest::WriteRequest;
    // A duplicate of the writer's descriptor. EBADF; EPERM where it may not be taken.
    [[nodiscard]] virtual Result<UniqueFd> take_fd(int number) const = 0;
    // As whom to dial; nothing: as ourselves. EPERM where the writer lives in another namespace.
    [[nodiscard]] virtual Result<std::optional<Identity>> dial_as(bool path) const = 0;
};

// Somebody who polls and wants to be woken, once.
class Poller {
 public:
    Poller() = default;
    Poller(const Poller&) = delete;
    Poller& operator=(const Poller&) = delete;
    virtual ~Poller() = default;
    virtual void wake() = 0;
};

}  // namespace tlsfs
