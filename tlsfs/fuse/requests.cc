// SPDX-License-Identifier: MIT
#include "fuse/requests.h"

#include "connection/caller.h"
#include "fuse/server.h"

namespace tlsfs {
namespace {

// libfuse calls this with the request locked, perhaps inside the call that registers it: so nothing
// is done here but to send word. The request is found again by its own mark.
void on_interrupt(fuse_req_t req, void* data) {
    auto& server = *static_cast<Server*>(fuse_req_userdata(req));
    server.signalled(static_cast<Connection::Number>(reinterpret_cast<std::uintptr_t>(data)));
}

void watch_for_signals(fuse_req_t req, Connection::Number number) {
    fuse_req_interrupt_func(req, on_interrupt, reinterpret_cast<void*>(std::uintptr_t{number}));
}

class FuseRead final : public ReadRequest {
 public:
    FuseRead(fuse_req_t req, bool nonblocking, std::size_t size)
        : ReadRequest(nonblocking, size), req_(req) {}
    [[nodiscard]] bool interrupted() const override { return fuse_req_interrupted(req_) != 0; }
    void fail(int code) override { fuse_reply_err(req_, code); }
    void reply(std::span<const std::byte> data) override {
        fuse_reply_buf(req_, reinterpret_cast<const char*>(data.data()), data.size());
    }

 private:
    fuse_req_t req_;
};

// FUSE's side of a write, to data or to ctl.
template <class Base>
class FuseWrite : public Base {
 public:
    FuseWrite(fuse_req_t req, bool nonblocking, std::span<const std::byte> data)
        : Base(nonblocking, data), req_(req) {}
    [[nodiscard]] bool interrupted() const override { return fuse_req_interrupted(req_) != 0; }
    void fail(int code) override { fuse_reply_err(req_, code); }
    void reply(std::size_t count) override { fuse_reply_write(req_, count); }

 protected:
    fuse_req_t req_;
};

class FuseCtl final : public FuseWrite<CtlRequest> {
 public:
    FuseCtl(fuse_req_t req, bool nonblocking, std::span<const std::byte> data, Caller opener)
        : FuseWrite(req, nonblocking, data), opener_(opener) {}
    [[nodiscard]] Result<UniqueFd> take_fd(int number) const override {
        return take_caller_fd(fuse_req_ctx(req_)->pid, opener_, number);
    }
    [[nodiscard]] Result<std::optional<Identity>> dial_as(bool path) const override {
        return caller_identity(fuse_req_ctx(req_)->pid, opener_, path);
    }

 private:
    Caller opener_;
};

class FusePoller final : public Poller {
 public:
    explicit FusePoller(fuse_pollhandle* handle) : handle_(handle) {}
    FusePoller(const FusePoller&) = delete;
    FusePoller& operator=(const FusePoller&) = delete;
    ~FusePoller() override { fuse_pollhandle_destroy(handle_); }
    void wake() override { fuse_lowlevel_notify_poll(handle_); }

 private:
    fuse_pollhandle* handle_;
};

}  // namespace

std::unique_ptr<ReadRequest> make_read(fuse_req_t req, Connection::Number number, bool nonblocking,
                                       std::size_t size) {
    watch_for_signals(req, number);
    return std::make_unique<FuseRead>(req, nonblocking, size);
}

std::unique_ptr<WriteRequest> make_write(fuse_req_t req, Connection::Number number,
                                         bool nonblocking, std::span<const std::byte> data) {
    watch_for_signals(req, number);
    return std::make_unique<FuseWrite<WriteRequest>>(req, nonblocking, data);
}

std::unique_ptr<CtlRequest> make_ctl(fuse_req_t req, Connection::Number number, bool nonblocking,
                                     std::span<const std::byte> data, Caller opener) {
    watch_for_signals(req, number);
    return std::make_unique<FuseCtl>(req, nonblocking, data, opener);
}

std::unique_ptr<Poller> make_poller(fuse_pollhandle* handle) {
    return handle == nullptr ? nullptr : std::make_unique<FusePoller>(handle);
}

}  // namespace tlsfs
