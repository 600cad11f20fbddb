// SPDX-License-Identifier: MIT
// What the requests of a guest do.
#include <fmt/format.h>

#include "attach/guest.h"
#include "core/bounds.h"
#include "engine/context.h"

namespace tlsfs {
namespace {

using Verb = AttachMessage::Verb;

constexpr std::chrono::milliseconds kPemPause{50};  // before one is looked at again

// `ok`, what belongs to it, and as many lines as there is room for.
std::string ok_text(std::string_view words, std::string lines) {
    std::string text = fmt::format("ok{}\n", words);
    return text + cut_to_lines(std::move(lines), kMaxMessage - text.size());
}

// Why a line failed, as `status` says it last.
std::string cause_of(Connection& connection, int code) {
    constexpr std::string_view kTag = "\nError: ";
    const std::string status = connection.status();
    const auto at = status.rfind(kTag);
    if (at == std::string::npos) return std::strerror(code);
    const auto start = at + kTag.size();
    return status.substr(start, status.find('\n', start) - start);
}

// Each file that is named is one text, in the order of the message.
Result<> feed(Connection& connection, const std::vector<AttachMessage::Pem>& pems,
              const std::vector<SecretBytes>& texts) {
    unsigned begun = 0;
    for (std::size_t i = 0; i < texts.size(); ++i) {
        const PemFile file = pems[i].file;
        const unsigned bit = 1U << static_cast<unsigned>(file);
        auto fed = connection.pem_begin(file, (begun & bit) != 0);
        begun |= bit;
        if (fed) fed = connection.pem_write(file, texts[i]);
        if (fed) fed = connection.pem_finish(file);
        if (!fed) return fed;
    }
    return {};
}

}  // namespace

class AttachGuest::Watcher final : public StateWatcher {
 public:
    explicit Watcher(std::weak_ptr<AttachGuest> guest) : guest_(std::move(guest)) {}
    void changed(const std::string& status) override {
        if (const auto guest = guest_.lock()) guest->changed(status);
    }
    bool over() override {
        const auto guest = guest_.lock();
        return guest && guest->over();
    }

 private:
    std::weak_ptr<AttachGuest> guest_;
};

class AttachGuest::Ctl final : public CtlRequest {
 public:
    Ctl(std::shared_ptr<AttachGuest> guest, OrderPtr order)
        : CtlRequest(false, std::as_bytes(std::span(order->message.lines))),
          guest_(std::move(guest)),
          order_(std::move(order)) {}
    [[nodiscard]] bool interrupted() const override { return false; }
    void fail(int code) override { guest_->lines_done(order_, code); }
    void reply(std::size_t) override { guest_->lines_done(order_, 0); }
    [[nodiscard]] Result<UniqueFd> take_fd(int number) const override {
        const auto index = static_cast<std::size_t>(number);
        if (index < order_->fds.size() && order_->fds[index].valid()) {
            return std::move(order_->fds[index]);
        }
        return failure(EBADF, "attach: no such descriptor in the message");
    }
    [[nodiscard]] Result<std::optional<Identity>> dial_as(bool) const override {
        if (guest_->front_->options().all_users) return failure(EPERM, "dial in your own process");
        return std::nullopt;
    }

 private:
    std::shared_ptr<AttachGuest> guest_;
    OrderPtr order_;
};

void AttachGuest::serve(Packet packet, const Result<>& received) {
    auto order = std::make_shared<Order>();
    order->fds = std::move(packet.fds);
    if (!received) return refuse(order, received.error());
    if (packet.sender->uid != user_) {
        return refuse(order, {EPERM, "attach: the sender is not who connected"});
    }
    order->caller = *packet.sender;
    auto message = parse_attach_message(packet.text, order->fds.size());
    if (!message) return refuse(order, message.error());
    order->message = std::move(*message);
    carry_out(order);
}

void AttachGuest::carry_out(const OrderPtr& order) {
    switch (order->message.verb) {
        case Verb::open:
        case Verb::open_bare:
            return open(order);
        case Verb::check:
            return check(order);
        case Verb::fd:
            return set_transport(order);
        case Verb::socket:
            return give_socket(order);
        case Verb::ctl:
            return begin_ctl(order);
        default:
            return tell(order);
    }
}

// Others than the owner find nothing, but root.
Result<> AttachGuest::find(Order& order, bool also_roots) const {
    const uid_t uid = order.caller.uid;
    order.connection = front_->registry().find(order.message.number, uid);
    if (!order.connection) return failure(ENOENT, "attach: no such connection");
    if (also_roots || order.connection->owner().uid == uid) return {};
    return failure(EPERM, "attach: the sender is not the owner");
}

void AttachGuest::tell(const OrderPtr& order) {
    auto text = text_for(*order);
    if (!text) return refuse(order, text.error());
    answer(order, ok_text("", std::move(*text)));
}

Result<std::string> AttachGuest::text_for(Order& order) const {
    Registry& registry = front_->registry();
    const Verb verb = order.message.verb;
    if (verb == Verb::ciphers) return cipher_names(first_settings(*registry.policy()));
    if (verb == Verb::engines) return front_->options().engines();
    if (verb == Verb::list) {
        std::string text;
        for (const auto number : registry.list(order.caller.uid))
            text += fmt::format("{}\n", number);
        return text;
    }
    if (auto found = find(order, true); !found) return tl::unexpected(found.error());
    if (verb == Verb::status) return order.connection->status();
    if (verb == Verb::stats) return order.connection->stats();
    return order.connection->peer();
}

void AttachGuest::set_transport(const OrderPtr& order) {
    if (auto found = find(*order, false); !found) return refuse(order, found.error());
    UniqueFd write = order->fds.size() == 2 ? std::move(order->fds[1]) : UniqueFd();
    auto set = order->connection->attach(std::move(order->fds[0]), std::move(write));
    if (!set) return refuse(order, set.error());
    answer(order, "ok");
}

void AttachGuest::give_socket(const OrderPtr& order) {
    if (auto found = find(*order, false); !found) return refuse(order, found.error());
    const auto socket = order->connection->data_socket();
    if (!socket) return refuse(order, socket.error());
    let_go(order->connection);
    answer(order, "ok", socket->get());
}

void AttachGuest::open(const OrderPtr& order) {
    // Told now, not after a handshake in vain.
    if (order->wants_socket() && !front_->options().data_sockets) {
        return refuse(order, {EOPNOTSUPP, "attach: there are no data sockets here"});
    }
    auto made = front_->registry().create(order->caller);
    if (!made) return refuse(order, made.error());
    {
        const std::scoped_lock guard(lock_);
        if (!opened_ && fd_.valid()) {
            order->connection = opened_ = *made;
            holds_ = true;
            tied_ = order->message.tied;
        }
    }
    if (!order->connection) {
        front_->registry().release(*made);
        return refuse(order, {EBUSY, "attach: open can be said once"});
    }
    order->connection->watch(std::make_shared<Watcher>(weak_from_this()));
    feed_pems(order);
}

// A connection that is tried out and never begun.
void AttachGuest::check(const OrderPtr& order) {
    auto made = front_->registry().create(order->caller);
    if (!made) return refuse(order, made.error());
    order->connection = std::move(*made);
    order->counted = true;
    order->connection->make_trial();
    feed_pems(order);
}

void AttachGuest::begin_ctl(const OrderPtr& order) {
    const bool harmless = order->message.lines == "hangup\n" && order->message.pems.empty();
    if (auto found = find(*order, harmless); !found) return refuse(order, found.error());
    order->counted = order->connection->opened();
    if (!order->counted) return refuse(order, {ENOENT, "attach: no such connection"});
    feed_pems(order);
}

void AttachGuest::feed_pems(const OrderPtr& order) {
    if (order->message.pems.empty()) return run_lines(order);
    std::vector<UniqueFd> fds;
    for (const auto& pem : order->message.pems) {
        fds.push_back(std::move(order->fds[pem.descriptor]));
    }
    read_pems(order, std::make_shared<PemReader>(std::move(fds), bounds::kPem));
}

void AttachGuest::read_pems(const OrderPtr& order, const std::shared_ptr<PemReader>& reader) {
    front_->background().run(user_, [self = shared_from_this(), order, reader] {
        const auto progress = reader->go_on();
        const bool open =
            self->front_->while_open([&] { self->pems_read(order, reader, progress); });
        // Then they are closed here: what closes them in the background may be gone.
        if (!open) order->fds.clear();
    });
}

// On a background thread.
void AttachGuest::pems_read(const OrderPtr& order, const std::shared_ptr<PemReader>& reader,
                            PemReader::Progress progress) {
    if (gone()) return refuse(order, {ECANCELED, "attach: the guest has gone"});
    if (progress == PemReader::Progress::failed) return refuse(order, reader->error());
    if (progress == PemReader::Progress::waiting) {
        front_->reactor().after(kPemPause, [self = shared_from_this(), order, reader] {
            self->read_pems(order, reader);
        });
        return;
    }
    auto fed = feed(*order->connection, order->message.pems, reader->texts());
    if (!fed) return refuse(order, fed.error());
    run_lines(order);
}

void AttachGuest::run_lines(const OrderPtr& order) {
    order->connection->ctl(std::make_unique<Ctl>(shared_from_this(), order));
}

void AttachGuest::lines_done(const OrderPtr& order, int code) {
    if (code != 0) {
        return refuse(order, {code, cause_of(*order->connection, code)});
    }
    if (order->opens()) return opened(order);
    if (order->message.chooses_plain) let_go(order->connection);
    answer(order, "ok");
}

void AttachGuest::opened(const OrderPtr& order) {
    Connection& connection = *order->connection;
    Result<UniqueFd> socket = order->wants_socket() ? connection.data_socket() : UniqueFd();
    if (!socket) return refuse(order, socket.error());
    bool ends = false;
    {
        // What changes from now on comes behind this.
        const std::scoped_lock guard(lock_);
        told_ = fd_.valid();
        const std::string number = fmt::format(" {}", connection.number());
        ends = send_answer(ok_text(number, connection.status()), socket->get());
    }
    if (ends) end();
    if (socket->valid() || order->message.chooses_plain) let_go(order->connection);
    finish(*order);
}

}  // namespace tlsfs
