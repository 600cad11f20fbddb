// SPDX-License-Identifier: MIT
// All identities of a directory, as its files are now.
//
// Certificate and key are renewed by two renames, and between them they do not fit each other. So
// what is broken is only said when it stays so, and what was good serves on. A credential that was
// replaced signs on for a while, for handshakes that have begun with it.
#pragma once

#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "core/log.h"
#include "keys/identity.h"

namespace tlsfs::keys {

class IdentityDirectory {
 public:
    using Clock = std::chrono::steady_clock;
    static constexpr std::chrono::seconds kGrace{120};  // of a replaced credential
    static constexpr std::size_t kMaxReplaced = 16;     // of one identity
    static constexpr std::size_t kMaxIdentities = 1024;

    // `own`: who may use an identity that does not say it; nothing: nobody.
    IdentityDirectory(std::string directory, std::optional<uid_t> own, Log& log)
        : directory_(std::move(directory)), own_(own), log_(log) {}

    // Loads what has changed, and tells of what has been broken for so long. True: something is
    // broken, and not yet for so long.
    bool reload(std::chrono::milliseconds patience);
    // The directories in which a file may change.
    [[nodiscard]] std::set<std::string> directories();

    // Null: there is none.
    [[nodiscard]] std::shared_ptr<const KeptIdentity> find(const std::string& name);
    [[nodiscard]] std::shared_ptr<const Credential> find_credential(const KeptIdentity& identity,
                                                                    const LeafId& leaf);

 private:
    struct Replaced {
        Clock::time_point until;
        std::shared_ptr<const Credential> credential;
    };
    struct Entry {
        std::shared_ptr<const KeptIdentity> identity;  // null: it was never good
        std::deque<Replaced> replaced;                 // the last replaced first
        std::string stamp;                             // of what was tried last
        std::string problem;                           // of that; empty: none
        bool told = true;
        Clock::time_point broken_since;  // while there is a problem that was not told
        std::set<std::string> directories;
    };
    struct Loaded {
        std::string stamp;
        std::set<std::string> directories;
        Result<std::shared_ptr<const KeptIdentity>> identity;
    };

    [[nodiscard]] std::set<std::string> list();
    void load(const std::string& name);
    [[nodiscard]] Loaded read(const std::string& name, const std::string& known_stamp);
    void take(const std::string& name, Loaded loaded);
    bool tell(std::chrono::milliseconds patience);

    const std::string directory_;
    const std::optional<uid_t> own_;
    Log& log_;

    std::mutex reloading_;  // one reload at a time; taken before lock_
    std::mutex lock_;       // guards all below; not held while files are read
    std::map<std::string, Entry> entries_;
    bool directory_told_ = false;
};

}  // namespace tlsfs::keys
