// SPDX-License-Identifier: MIT
#include "keys/users.h"

#include <pwd.h>

#include <algorithm>
#include <array>
#include <optional>

#include "core/number.h"

namespace tlsfs::keys {
namespace {

std::optional<uid_t> look_up(const std::string& name) {
    passwd entry{};
    passwd* found = nullptr;
    std::array<char, 4096> memory{};
    if (getpwnam_r(name.c_str(), &entry, memory.data(), memory.size(), &found) != 0) return {};
    if (found == nullptr) return {};
    return found->pw_uid;
}

bool is_dynamic(uid_t uid) {
    return uid >= Users::kFirstDynamic && uid <= Users::kLastDynamic;
}

}  // namespace

Users::Users(const std::vector<std::string>& words) {
    for (const std::string& word : words) {
        if (word == "*") {
            everybody_ = true;
        } else if (const auto number = parse_number(word)) {
            uids_.insert(*number);
        } else if (const auto uid = look_up(word); uid && !is_dynamic(*uid)) {
            uids_.insert(*uid);
        } else {
            dynamic_.push_back(word);
            if (!uid) unknown_.push_back(word);
        }
    }
}

bool Users::allows(uid_t uid) const {
    if (everybody_ || uids_.contains(uid)) return true;
    if (!is_dynamic(uid)) return false;
    return std::ranges::any_of(dynamic_,
                               [uid](const std::string& name) { return look_up(name) == uid; });
}

}  // namespace tlsfs::keys
