// SPDX-License-Identifier: MIT
#include "control.h"

#include <mutex>

namespace tlsfs::internal {
namespace {

using Kind = AttachReply::Kind;

class ByAttach final : public Control {
 public:
    ByAttach(AttachClient guest, unsigned number)
        : guest_(std::move(guest)), number_(std::to_string(number)) {}

    Result<std::string> read(const char* what) override {
        const std::scoped_lock guard(lock_);
        auto answer = ask(AttachRequest(std::string(what) + " " + number_));
        if (answer) return std::move(answer->text);
        const bool status = std::string_view(what) == "status";
        if (status && !guest_.latest_state().empty()) return guest_.latest_state();
        return tl::unexpected(answer.error());
    }

    Result<> say(std::string_view line) override {
        const std::scoped_lock guard(lock_);
        AttachRequest request("ctl " + number_);
        request.add_lines(std::string(line) + "\n");
        const auto answer = ask(request);
        if (!answer) return tl::unexpected(answer.error());
        return {};
    }

 private:
    // The companion closes the socket when the connection is over, and its last state comes before.
    Result<AttachReply> ask(const AttachRequest& request) {
        for (;;) {
            auto message = guest_.receive();
            if (!message) return message;
            if (message->kind == Kind::end) return failure(ENOTCONN, "the connection is over");
            if (message->kind == Kind::pending) return guest_.ask(request, soon());
        }
    }

    std::mutex lock_;
    AttachClient guest_;  // guarded by lock_
    std::string number_;
};

class ByFiles final : public Control {
 public:
    explicit ByFiles(CtlClient ctl) : ctl_(std::move(ctl)) {}
    Result<std::string> read(const char* what) override { return ctl_.read(what); }
    Result<> say(std::string_view line) override { return ctl_.say(std::string(line) + "\n"); }

 private:
    CtlClient ctl_;
};

}  // namespace

std::unique_ptr<Control> control_by_attach(AttachClient guest, unsigned number) {
    return std::make_unique<ByAttach>(std::move(guest), number);
}

std::unique_ptr<Control> control_by_files(CtlClient ctl) {
    return std::make_unique<ByFiles>(std::move(ctl));
}

}  // namespace tlsfs::internal
