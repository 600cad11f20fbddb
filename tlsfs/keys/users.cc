// SPDX-License-Identifier: MIT
#include "keys/users.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>

#include "core/number.h"

namespace tlsfs::keys {
namespace {

bool is_dynamic(uid_t uid) {
    return uid >= Users::kFirstDynamic && uid <= Users::kLastDynamic;
}

// Where systemd keeps a dynamic user's number, for machines without its name service module.
std::optional<uid_t> look_up_dynamic(const std::string& name) {
    if (name.find('/') != std::string::npos) return {};
    std::array<char, 16> number{};
    const std::string link = "/run/systemd/dynamic-uid/direct:" + name;
    const ssize_t size = readlink(link.c_str(), number.data(), number.size());
    if (size <= 0) return {};
    const auto uid = parse_number({number.data(), static_cast<std::size_t>(size)});
    return uid && is_dynamic(*uid) ? uid : std::nullopt;
}

std::optional<uid_t> look_up(const std::string& name) {
    passwd entry{};
    passwd* found = nullptr;
    std::array<char, 4096> memory{};
    if (getpwnam_r(name.c_str(), &entry, memory.data(), memory.size(), &found) == 0 &&
        found != nullptr) {
        return found->pw_uid;
    }
    return look_up_dynamic(name);
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
