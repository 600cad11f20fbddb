// SPDX-License-Identifier: MIT
// One that has connected: its requests, one after another, and the connection that it has opened.
//
// The connection calls back without its lock, perhaps inside a call of ours: so none that may do
// that is made under the guest's lock.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "attach/front.h"
#include "attach/message.h"
#include "attach/packet.h"
#include "attach/pem_reader.h"
#include "connection/connection.h"

namespace tlsfs {

class AttachGuest final : public Reactor::Handler,
                          public std::enable_shared_from_this<AttachGuest> {
 public:
    AttachGuest(std::shared_ptr<AttachFront> front, UniqueFd fd, uid_t user)
        : front_(std::move(front)), user_(user), fd_(std::move(fd)) {}

    void begin();
    // The companion stops, or the guest has gone. An attempt ends, as by `hangup`.
    void end();

    void ready(int fd) override;

 private:
    class Watcher;
    class Ctl;
    // A request under way.
    struct Order {
        AttachMessage message;
        std::vector<UniqueFd> fds;
        Caller caller;
        std::shared_ptr<Connection> connection;
        bool counted = false;  // as opened, for as long as the request takes

        [[nodiscard]] bool opens() const {
            return message.verb == AttachMessage::Verb::open ||
                   message.verb == AttachMessage::Verb::open_bare;
        }
        [[nodiscard]] bool wants_socket() const {
            return message.verb == AttachMessage::Verb::open && !message.chooses_plain;
        }
    };
    using OrderPtr = std::shared_ptr<Order>;

    // Each of these ends in answer() or refuse(), now or later.
    void serve(Packet packet, const Result<>& received);
    void carry_out(const OrderPtr& order);
    void open(const OrderPtr& order);
    void check(const OrderPtr& order);
    void begin_ctl(const OrderPtr& order);
    void feed_pems(const OrderPtr& order);
    void run_lines(const OrderPtr& order);
    void lines_done(const OrderPtr& order, int code);
    void opened(const OrderPtr& order);
    void give_socket(const OrderPtr& order);
    void set_transport(const OrderPtr& order);
    void tell(const OrderPtr& order);

    [[nodiscard]] Result<> find(Order& order, bool also_roots) const;
    [[nodiscard]] Result<std::string> text_for(Order& order) const;
    void read_pems(const OrderPtr& order, const std::shared_ptr<PemReader>& reader);
    void pems_read(const OrderPtr& order, const std::shared_ptr<PemReader>& reader,
                   PemReader::Progress progress);

    void answer(const OrderPtr& order, const std::string& text, int attached = -1);
    void refuse(const OrderPtr& order, const Error& error);
    void finish(Order& order) const;
    // The connection that it opened lives by its plain side from now on.
    void let_go(const std::shared_ptr<Connection>& connection);
    [[nodiscard]] bool send_answer(const std::string& text, int attached);
    void changed(const std::string& status);
    bool over();
    [[nodiscard]] bool gone();

    const std::shared_ptr<AttachFront> front_;
    const uid_t user_;

    std::atomic<bool> spoke_ = false;

    std::mutex lock_;  // guards all below; taken before a connection's
    UniqueFd fd_;      // invalid: it has left
    Reactor::Watch watch_;
    bool busy_ = false;                   // a request is under way
    bool told_ = false;                   // `ok` to `open` was sent: from now on changes are told
    bool over_ = false;                   // and the connection is over
    std::shared_ptr<Connection> opened_;  // by `open`
    bool holds_ = false;                  // it is counted as opened for us
    bool tied_ = false;                   // and ends with us
};

}  // namespace tlsfs
