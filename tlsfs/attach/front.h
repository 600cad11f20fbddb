// SPDX-License-Identifier: MIT
// The front for messages: a listening socket and those who have connected to it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <shared_mutex>
#include <string>
#include <vector>

#include "connection/registry.h"
#include "io/reactor.h"

namespace tlsfs {

class AttachGuest;

class AttachFront final : public Reactor::Handler,
                          public std::enable_shared_from_this<AttachFront> {
 public:
    struct Options {
        bool all_users = false;                // else only our own is served
        bool data_sockets = false;             // they can be made here
        std::function<std::string()> engines;  // what the file `engines` says
        std::size_t most_guests = 4096, most_of_one = 1024;
    };

    AttachFront(Reactor& reactor, Background& background, Registry& registry, Options options)
        : reactor_(reactor),
          background_(background),
          registry_(registry),
          options_(std::move(options)) {}

    // A socket for listen(), not yet bound.
    [[nodiscard]] static Result<UniqueFd> make_socket();
    [[nodiscard]] Result<> listen(UniqueFd bound);
    // Guests are dropped, their attempts ended. Nobody is served any more.
    void close();

    void ready(int fd) override;

    // For guests.
    Reactor& reactor() { return reactor_; }
    Background& background() { return background_; }
    Registry& registry() { return registry_; }
    [[nodiscard]] const Options& options() const { return options_; }
    void leave(const std::shared_ptr<AttachGuest>& guest, uid_t user);
    // Closes them in the background.
    void discard(uid_t user, std::vector<UniqueFd>& fds);
    // For a background thread, which may outlive the companion: false if close() has been called;
    // otherwise it waits for `work` to end.
    [[nodiscard]] bool while_open(const std::function<void()>& work);

 private:
    void welcome(UniqueFd fd);
    [[nodiscard]] Result<> admit(uid_t user);
    void look_later();

    Reactor& reactor_;
    Background& background_;
    Registry& registry_;
    const Options options_;

    std::shared_mutex open_lock_;  // guards closed_
    bool closed_ = false;

    std::mutex lock_;  // guards all below; taken before a guest's
    UniqueFd listener_;
    Reactor::Watch watch_;
    std::set<std::shared_ptr<AttachGuest>> guests_;
    std::map<uid_t, std::size_t> per_user_;
};

}  // namespace tlsfs
