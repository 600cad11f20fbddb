// SPDX-License-Identifier: MIT
// Who may use an identity.
#pragma once

#include <sys/types.h>

#include <set>
#include <string>
#include <vector>

namespace tlsfs::keys {

class Users {
 public:
    // Of systemd's DynamicUser=: such a number is somebody else's when the service has ended.
    static constexpr uid_t kFirstDynamic = 61184, kLastDynamic = 65519;

    // Names, numbers, or *. Names are looked up now, but those of dynamic users, or of nobody yet.
    explicit Users(const std::vector<std::string>& words);

    // A dynamic user's name is looked up anew.
    [[nodiscard]] bool allows(uid_t uid) const;

    // Names that nobody has now.
    [[nodiscard]] const std::vector<std::string>& unknown() const { return unknown_; }

 private:
    bool everybody_ = false;
    std::set<uid_t> uids_;
    std::vector<std::string> dynamic_;
    std::vector<std::string> unknown_;
};

}  // namespace tlsfs::keys
