// SPDX-License-Identifier: MIT
// The socket of tlskeyd(8), and who has connected to it. Each guest says one message at a time and
// is answered before the next is read.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>

#include "core/log.h"
#include "core/unique_fd.h"
#include "io/reactor.h"
#include "keys/service.h"

namespace tlsfs::keys {

class KeyGuest;

class KeyFront final : public Reactor::Handler, public std::enable_shared_from_this<KeyFront> {
 public:
    static constexpr std::size_t kMostGuests = 1024, kMostOfOne = 128;

    KeyFront(Reactor& reactor, KeyService& service, Log& log)
        : reactor_(reactor), service_(service), log_(log) {}

    void listen(UniqueFd listening);
    void ready(int fd) override;

    // For guests.
    KeyService& service() { return service_; }
    void leave(const std::shared_ptr<KeyGuest>& guest, uid_t user);

 private:
    void welcome(UniqueFd fd);
    [[nodiscard]] bool admit(uid_t user);
    void look_later();

    Reactor& reactor_;
    KeyService& service_;
    Log& log_;

    std::mutex lock_;  // guards all below
    UniqueFd listener_;
    Reactor::Watch watch_;
    std::set<std::shared_ptr<KeyGuest>> guests_;
    std::map<uid_t, std::size_t> per_user_;
};

class KeyGuest final : public Reactor::Handler, public std::enable_shared_from_this<KeyGuest> {
 public:
    KeyGuest(Reactor& reactor, KeyFront& front, UniqueFd fd, uid_t user)
        : reactor_(reactor), front_(front), fd_(std::move(fd)), user_(user) {}
    void begin();
    void ready(int fd) override;

 private:
    void look_again();
    void reply(const Bytes& answer);
    void leave();

    Reactor& reactor_;
    KeyFront& front_;
    const UniqueFd fd_;
    const uid_t user_;

    std::mutex lock_;  // guards watch_
    Reactor::Watch watch_;
};

}  // namespace tlsfs::keys
