// SPDX-License-Identifier: MIT
// The front for messages, with real sockets and a real device behind it.
#include "attach/front.h"

#include <doctest/doctest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/un.h>

#include "attach/message.h"
#include "attach/packet.h"
#include "support/fakes.h"

using namespace tlsfs;
using namespace tlsfs::test;

namespace {

struct Received {
    std::string text;
    std::vector<UniqueFd> fds;
};

// Who speaks to the front.
class Client {
 public:
    explicit Client(const sockaddr_un& address, socklen_t size)
        : fd_(checked(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0))) {
        REQUIRE(connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), size) == 0);
    }

    void send(const std::string& text, const std::vector<int>& fds = {}) const {
        alignas(cmsghdr) std::array<char, CMSG_SPACE(253 * sizeof(int))> control{};
        std::string copy = text;
        iovec part{copy.data(), copy.size()};
        msghdr header{};
        header.msg_iov = &part;
        header.msg_iovlen = 1;
        if (!fds.empty()) {
            header.msg_control = control.data();
            header.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
            cmsghdr* rights = CMSG_FIRSTHDR(&header);
            rights->cmsg_level = SOL_SOCKET;
            rights->cmsg_type = SCM_RIGHTS;
            rights->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
            std::memcpy(CMSG_DATA(rights), fds.data(), fds.size() * sizeof(int));
        }
        REQUIRE(sendmsg(fd_.get(), &header, MSG_NOSIGNAL) == static_cast<ssize_t>(text.size()));
    }
    // Empty: the end.
    Received receive() const {
        pollfd entry{fd_.get(), POLLIN, 0};
        REQUIRE(poll(&entry, 1, 20'000) == 1);
        Packet packet;
        (void)receive_packet(fd_.get(), packet);
        return {packet.text, std::move(packet.fds)};
    }
    std::string ask(const std::string& text, const std::vector<int>& fds = {}) const {
        send(text, fds);
        return receive().text;
    }
    [[nodiscard]] bool quiet() const {
        pollfd entry{fd_.get(), POLLIN, 0};
        return poll(&entry, 1, 0) == 0;
    }
    // 0, or the errno.
    [[nodiscard]] int try_send(const std::string& text) const {
        const int flags = MSG_NOSIGNAL | MSG_DONTWAIT;
        return ::send(fd_.get(), text.data(), text.size(), flags) < 0 ? errno : 0;
    }
    void close() { fd_.reset(); }

 private:
    UniqueFd fd_;
};

class Served {
 public:
    explicit Served(AttachFront::Options options = usual())
        : front(std::make_shared<AttachFront>(device.reactor, device.background, device.registry,
                                              std::move(options))) {
        auto made = AttachFront::make_socket();
        REQUIRE(made);
        address_.sun_family = AF_UNIX;  // and no path: an abstract one that is free
        REQUIRE(bind(made->get(), reinterpret_cast<sockaddr*>(&address_), sizeof(sa_family_t)) ==
                0);
        REQUIRE(getsockname(made->get(), reinterpret_cast<sockaddr*>(&address_), &size_) == 0);
        REQUIRE(front->listen(std::move(*made)));
    }
    Served(const Served&) = delete;
    Served& operator=(const Served&) = delete;
    ~Served() { front->close(); }

    static AttachFront::Options usual() {
        AttachFront::Options options;
        options.engines = [] { return std::string("user x\n"); };
        return options;
    }
    [[nodiscard]] Client client() const { return Client(address_, size_); }

    Device device;
    std::shared_ptr<AttachFront> front;

 private:
    sockaddr_un address_{};
    socklen_t size_ = sizeof(sockaddr_un);
};

const Caller kMe{geteuid(), getegid()};

UniqueFd text_file(const std::string& text) {
    UniqueFd fd = checked(memfd_create("text", MFD_CLOEXEC));
    REQUIRE(write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    REQUIRE(lseek(fd.get(), 0, SEEK_SET) == 0);
    return fd;
}

template <class Condition>
void until(Condition condition) {
    while (!condition()) std::this_thread::sleep_for(std::chrono::milliseconds{1});
}

}  // namespace

TEST_CASE("attach front: what the small files say") {
    Served served;
    const Client client = served.client();
    CHECK(client.ask("list") == "ok\n");
    const auto mine = served.device.connect(kMe);
    const auto others = served.device.connect({kMe.uid + 1, kMe.gid});
    const std::string number = std::to_string(mine->number());
    if (kMe.uid != 0) CHECK(client.ask("list") == "ok\n" + number + "\n");
    CHECK(client.ask("status " + number) == "ok\n" + mine->status());
    CHECK(client.ask("stats " + number) == "ok\n" + mine->stats());
    CHECK(client.ask("peer " + number).starts_with("ENOTCONN "));
    CHECK(client.ask("engines") == "ok\nuser x\n");
    CHECK(client.ask("ciphers").starts_with("ok\nTLS_"));
    CHECK(client.ask("status 99").starts_with("ENOENT "));
    CHECK(client.ask("nonsense").starts_with("EINVAL "));
}

TEST_CASE("attach front: of others' connections root sees the small files, and may say hangup") {
    Served served;
    const Client client = served.client();
    const auto others = served.device.connect({kMe.uid + 1, kMe.gid});
    const std::string number = std::to_string(others->number());
    auto [near, far] = socket_pair();
    if (kMe.uid != 0) {
        for (const char* verb : {"status ", "stats ", "peer ", "socket "}) {
            CHECK(client.ask(verb + number).starts_with("ENOENT "));
        }
        CHECK(client.ask("ctl " + number + "\nhangup").starts_with("ENOENT "));
        return;
    }
    CHECK(client.ask("status " + number).starts_with("ok\n"));
    CHECK(client.ask("stats " + number).starts_with("ok\n"));
    CHECK(client.ask("socket " + number).starts_with("EPERM "));
    CHECK(client.ask(number, {near.get()}).starts_with("EPERM "));
    CHECK(client.ask("ctl " + number + "\nverify none").starts_with("EPERM "));
    CHECK(client.ask("ctl " + number + "\nhangup\nverify none").starts_with("EPERM "));
    CHECK(client.ask("ctl " + number + "\nhangup") == "ok");
    CHECK(has_line(others->status(), "State: Closed"));
}

TEST_CASE("attach front: descriptors come with the number, or with fd") {
    Served served;
    const Client client = served.client();
    auto [near, far] = socket_pair();
    for (const char* verb : {"", "fd "}) {
        const auto connection = served.device.connect(kMe);
        const std::string number = std::to_string(connection->number());
        CHECK(client.ask(verb + number, {near.get()}) == "ok");
        CHECK(client.ask(verb + number, {near.get()}).starts_with("EBUSY "));
    }
    const auto two = served.device.connect(kMe);
    CHECK(client.ask(std::to_string(two->number()), {near.get(), near.get()}) == "ok");
    const auto none = served.device.connect(kMe);
    const UniqueFd file = text_file("no stream");
    CHECK(client.ask(std::to_string(none->number()), {file.get()}).starts_with("EOPNOTSUPP "));
}

TEST_CASE("attach front: open bare is a whole handshake in one message") {
    Served served;
    const Client client = served.client(), server = served.client();
    auto [near, far] = socket_pair();
    const UniqueFd ca = text_file(world().authority.pem()), cert = text_file(world().server.pem()),
                   key = text_file(world().server.key_pem());
    server.send("open bare\ncert\nkey\nfd\nserver\n", {cert.get(), key.get(), far.get()});
    const std::string said =
        client.ask("open bare\nca -\nfd -\nclient server.test\n", {ca.get(), near.get()});
    CHECK(said.starts_with("ok "));
    CHECK(has_line(said, "State: Established"));
    CHECK(has_line(said, "Verify: ok"));
    CHECK(has_line(server.receive().text, "State: Established"));
    const std::string number = said.substr(3, said.find('\n') - 3);
    CHECK(client.ask("status " + number) == "ok" + said.substr(said.find('\n')));
    CHECK(client.ask("peer " + number).starts_with("ok\n-----BEGIN CERTIFICATE-----\n"));
    CHECK(client.ask("open bare\n").starts_with("EBUSY "));
}

TEST_CASE("attach front: an attempt that fails says why, and leaves nothing") {
    Served served;
    const Client client = served.client();
    auto [near, far] = socket_pair();
    const UniqueFd garbage = text_file("garbage");
    CHECK(client.ask("open bare\nverify maybe\n").starts_with("EINVAL verify"));
    CHECK(client.ask("open bare\nca\n", {garbage.get()}).starts_with("EINVAL "));
    CHECK(client.ask("open bare\nclient a.test\n").starts_with("ENOTCONN client: "));
    far.reset();
    CHECK(client.ask("open bare\nfd\nverify none\nclient\n", {near.get()}).starts_with("E"));
    const UniqueFd large = text_file(std::string((1U << 20U) + 1, 'x'));
    CHECK(client.ask("open bare\nca\n", {large.get()}).starts_with("EFBIG "));
    CHECK(served.device.registry.list(0).empty());
    CHECK(client.ask("open bare\n").starts_with("ok "));
}

TEST_CASE("attach front: a check does what goes before the first record, and leaves nothing") {
    Served served;
    const Client client = served.client();
    const UniqueFd cert = text_file(world().server.pem()), other = text_file(world().server.pem()),
                   key = text_file(world().server.key_pem());
    CHECK(client.ask("check\ncert -\nkey -\nserver\n", {cert.get(), key.get()}) == "ok");
    CHECK(client.ask("check\ncert -\nserver\n", {other.get()}).starts_with("EINVAL "));
    CHECK(client.ask("check\nclient a.test\n") == "ok");
    CHECK(client.ask("check\nclient\n").starts_with("EINVAL client: no name"));
    CHECK(client.ask("check\nverify maybe\n").starts_with("EINVAL verify"));
    CHECK(client.ask("check 5\n").starts_with("EINVAL "));
    CHECK(served.device.registry.list(0).empty());
    CHECK(client.ask("open bare\n").starts_with("ok "));
}

TEST_CASE("attach front: a tied connection ends with its guest, another does not") {
    Served served;
    const UniqueFd ca = text_file(world().authority.pem());
    for (const bool tied : {false, true}) {
        CAPTURE(tied);
        Client client = served.client();
        const Client server = served.client();
        const UniqueFd cert = text_file(world().server.pem()),
                       key = text_file(world().server.key_pem());
        auto [near, far] = socket_pair();
        auto [plain, program] = socket_pair();
        auto [other_plain, other_program] = socket_pair();
        server.send("open\ncert\nkey\nfd\nplain\nserver\n",
                    {cert.get(), key.get(), far.get(), other_plain.get()});
        REQUIRE(lseek(ca.get(), 0, SEEK_SET) == 0);
        client.send(
            std::string("open\n") + (tied ? "tied\n" : "") + "ca\nfd\nplain\nclient server.test\n",
            {ca.get(), near.get(), plain.get()});
        REQUIRE(client.receive().text.starts_with("ok "));
        REQUIRE(server.receive().text.starts_with("ok "));
        for (UniqueFd* given : {&near, &far, &plain, &other_plain}) given->reset();
        client.close();
        std::string state;
        if (tied) {
            // Cut, not closed: the other side is told so, and then it is over.
            std::string latest;
            while (!(latest = server.receive().text).empty()) state = latest;
            CHECK(has_line(state, "State: Error"));
        } else {
            REQUIRE(write(program.get(), "still", 5) == 5);
            std::array<char, 8> bytes{};
            CHECK(read(other_program.get(), bytes.data(), bytes.size()) == 5);
        }
    }
}

TEST_CASE("attach front: closing ends an attempt, and what waits for its end") {
    Served served;
    Client client = served.client();
    auto [near, far] = socket_pair();
    client.send("open bare\nfd\nverify none\nclient\n", {near.get()});
    near.reset();
    std::array<char, 4096> hello{};
    CHECK(read(far.get(), hello.data(), hello.size()) > 0);
    CHECK(client.quiet());
    client.close();
    until([&] { return served.device.registry.list(0).empty(); });
    while (read(far.get(), hello.data(), hello.size()) > 0) continue;  // until it is closed

    // A descriptor with PEM that never ends.
    auto ends = pipe_pair();
    Client second = served.client();
    second.send("open bare\nca\n", {ends.a.get()});
    until([&] { return !served.device.registry.list(0).empty(); });
    second.close();
    until([&] { return served.device.registry.list(0).empty(); });
    ends.a.reset();
    until([&] { return write(ends.b.get(), "x", 1) < 0; });  // ours is closed too
}

TEST_CASE("attach front: a bare connection ends with the guest that opened it") {
    Served served;
    Client client = served.client();
    CHECK(client.ask("open bare\n").starts_with("ok "));
    CHECK(served.device.registry.list(0).size() == 1);
    client.close();
    until([&] { return served.device.registry.list(0).empty(); });
}

TEST_CASE("attach front: messages are answered in order, malformed ones too") {
    Served served;
    const Client client = served.client();
    auto [near, far] = socket_pair();
    std::vector<int> many(253, near.get());
    client.send("list");
    client.send(std::string(kMaxMessage + 1, 'x'));
    client.send("list", {near.get()});
    client.send("list", many);
    client.send(std::string("li\0st", 5));
    client.send("");
    client.send("engines");
    for (const char* answer : {"ok", "EINVAL", "EINVAL", "EINVAL", "EINVAL", "EINVAL", "ok"}) {
        CHECK(client.receive().text.starts_with(answer));
    }
    near.reset();
    std::array<char, 1> nothing{};
    CHECK(read(far.get(), nothing.data(), 1) == 0);  // every copy is closed
}

TEST_CASE("attach front: one that reads no answers is dropped; others are served") {
    Served served;
    const Client slow = served.client(), other = served.client();
    for (int i = 0; i < 100'000; ++i) {
        const int code = slow.try_send("ciphers");
        if (code == EPIPE || code == ECONNRESET) return;
        if (i % 100 == 0) CHECK(other.ask("list") == "ok\n");
        REQUIRE((code == 0 || code == EAGAIN));
    }
    FAIL("it is not dropped");
}

TEST_CASE("attach front: no more guests than there may be") {
    AttachFront::Options options = Served::usual();
    options.most_of_one = 3;
    Served served(std::move(options));
    std::vector<Client> clients;
    for (int i = 0; i < 3; ++i) {
        clients.push_back(served.client());
        CHECK(clients.back().ask("list") == "ok\n");
    }
    CHECK(served.client().receive().text.starts_with("EMFILE "));
    clients.pop_back();
    until([&] {
        const Client one_more = served.client();
        (void)one_more.try_send("list");
        return one_more.receive().text == "ok\n";
    });
}

TEST_CASE("attach front: a companion that serves all users dials for none of them") {
    AttachFront::Options options = Served::usual();
    options.all_users = true;
    Served served(std::move(options));
    CHECK(
        served.client().ask("open bare\ndial 127.0.0.1:1\n").starts_with("EPERM dial in your own"));
}

TEST_CASE("attach front: closing it ends its guests") {
    Served served;
    const Client idle = served.client(), busy = served.client();
    CHECK(idle.ask("list") == "ok\n");
    auto [near, far] = socket_pair();
    busy.send("open bare\nfd\nverify none\nclient\n", {near.get()});
    std::array<char, 4096> hello{};
    CHECK(read(far.get(), hello.data(), hello.size()) > 0);
    served.front->close();
    CHECK(idle.receive().text.empty());
    CHECK(busy.receive().text.empty());
    CHECK(served.device.registry.list(0).empty());
}

TEST_CASE("attach front: without data sockets open says so at once") {
    Served served;
    auto [near, far] = socket_pair();
    CHECK(
        served.client().ask("open\nfd\nclient a.test\n", {near.get()}).starts_with("EOPNOTSUPP "));
    near.reset();
    std::array<char, 1> nothing{};
    CHECK(read(far.get(), nothing.data(), 1) == 0);
}
