// SPDX-License-Identifier: MIT
#include "keys/identity_directory.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "keys/trusted_file.h"

namespace tlsfs::keys {
namespace {

constexpr std::string_view kSuffix = ".conf";

std::string directory_of(const std::string& path) {
    return std::filesystem::path(path).parent_path();
}

Result<IdentityFile> read_identity_file(const std::string& path) {
    auto text = read_trusted_file(path, Secrecy::open);
    if (!text) return tl::unexpected(text.error());
    auto file = parse_identity_file({text->data(), text->size()});
    if (!file) return failure(file.error().code, path + ": " + file.error().text);
    const bool has_pin = file->key.place.find("pin-value") != std::string::npos;
    if (has_pin) text = read_trusted_file(path, Secrecy::secret);
    if (!text) return tl::unexpected(text.error());
    return file;
}

}  // namespace

std::set<std::string> IdentityDirectory::list() {
    std::set<std::string> names;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(directory_, error)) {
        std::string name = entry.path().filename();
        if (!name.ends_with(kSuffix)) continue;
        name.erase(name.size() - kSuffix.size());
        if (is_identity_name(name) && names.size() < kMaxIdentities) names.insert(name);
    }
    const bool told = std::exchange(directory_told_, bool(error));
    if (error && !told) log_.say(LogLevel::error, directory_ + ": " + error.message());
    return names;
}

bool IdentityDirectory::reload(std::chrono::milliseconds patience) {
    const std::scoped_lock one_at_a_time(reloading_);
    const std::set<std::string> names = list();
    {
        const std::scoped_lock guard(lock_);
        std::erase_if(entries_, [&](const auto& entry) {
            const bool gone = !names.contains(entry.first);
            if (gone && entry.second.identity) {
                log_.say(LogLevel::info, fmt::format("identity {} is gone", entry.first));
            }
            return gone;
        });
    }
    for (const std::string& name : names) load(name);
    return tell(patience);
}

void IdentityDirectory::load(const std::string& name) {
    std::string known_stamp;
    {
        const std::scoped_lock guard(lock_);
        known_stamp = entries_[name].stamp;
    }
    Loaded loaded = read(name, known_stamp);
    if (loaded.stamp != known_stamp) take(name, std::move(loaded));
}

// The stamps are of before the files are read: what changes meanwhile is read again.
IdentityDirectory::Loaded IdentityDirectory::read(const std::string& name,
                                                  const std::string& known_stamp) {
    const std::string path = fmt::format("{}/{}{}", directory_, name, kSuffix);
    Loaded loaded{stamp_of(path), {directory_}, std::shared_ptr<const KeptIdentity>()};
    auto file = read_identity_file(path);
    if (!file) {
        loaded.identity = tl::unexpected(file.error());
        return loaded;
    }
    loaded.stamp += stamp_of(file->cert);
    loaded.directories.insert(directory_of(file->cert));
    if (file->key.where == KeyPlace::Where::file) {
        loaded.stamp += stamp_of(file->key.place);
        loaded.directories.insert(directory_of(file->key.place));
    }
    if (loaded.stamp == known_stamp) return loaded;
    auto credential = load_credential(*file);
    if (!credential) {
        loaded.identity = tl::unexpected(credential.error());
        return loaded;
    }
    if (file->users.empty() && own_) file->users.push_back(std::to_string(*own_));
    loaded.identity = std::make_shared<const KeptIdentity>(
        KeptIdentity{name, Users(file->users), std::move(file->roles), file->min_version,
                     std::move(*credential)});
    return loaded;
}

void IdentityDirectory::take(const std::string& name, Loaded loaded) {
    const std::scoped_lock guard(lock_);
    Entry& entry = entries_[name];
    entry.stamp = std::move(loaded.stamp);
    // A file that cannot be read says no directories: those of before are watched on.
    if (loaded.directories.size() > 1 || entry.directories.empty()) {
        entry.directories = std::move(loaded.directories);
    }
    if (!loaded.identity) {
        if (entry.told) entry.broken_since = Clock::now();
        entry.problem = loaded.identity.error().text;
        entry.told = false;
        return;
    }
    if (entry.identity) {
        entry.replaced.push_front({Clock::now() + kGrace, entry.identity->credential});
        if (entry.replaced.size() > kMaxReplaced) entry.replaced.pop_back();
    }
    const bool had_one = entry.identity != nullptr;
    entry.identity = std::move(*loaded.identity);
    entry.problem.clear();
    entry.told = true;
    log_.say(LogLevel::info,
             fmt::format("identity {} is {}", name, had_one ? "read anew" : "there"));
    for (const std::string& user : entry.identity->users.unknown()) {
        log_.say(
            LogLevel::info,
            fmt::format("identity {}: there is no user '{}' now; only a dynamic one that comes "
                        "will be known",
                        name, user));
    }
}

bool IdentityDirectory::tell(std::chrono::milliseconds patience) {
    const std::scoped_lock guard(lock_);
    bool untold = false;
    for (auto& [name, entry] : entries_) {
        std::erase_if(entry.replaced, [](const Replaced& old) { return Clock::now() > old.until; });
        if (entry.told) continue;
        if (Clock::now() - entry.broken_since < patience) {
            untold = true;
            continue;
        }
        entry.told = true;
        log_.say(LogLevel::error, fmt::format("identity {}: {}; {}", name, entry.problem,
                                              entry.identity ? "what was good before serves on"
                                                             : "it is not there"));
    }
    return untold;
}

std::set<std::string> IdentityDirectory::directories() {
    const std::scoped_lock guard(lock_);
    std::set<std::string> all{directory_};
    for (const auto& [name, entry] : entries_) {
        all.insert(entry.directories.begin(), entry.directories.end());
    }
    return all;
}

std::shared_ptr<const KeptIdentity> IdentityDirectory::find(const std::string& name) {
    const std::scoped_lock guard(lock_);
    const auto found = entries_.find(name);
    return found == entries_.end() ? nullptr : found->second.identity;
}

std::shared_ptr<const Credential> IdentityDirectory::find_credential(const KeptIdentity& identity,
                                                                     const LeafId& leaf) {
    if (identity.credential->leaf == leaf) return identity.credential;
    const std::scoped_lock guard(lock_);
    const auto found = entries_.find(identity.name);
    if (found == entries_.end()) return nullptr;
    for (const Replaced& old : found->second.replaced) {
        if (old.credential->leaf == leaf && Clock::now() <= old.until) return old.credential;
    }
    return nullptr;
}

}  // namespace tlsfs::keys
