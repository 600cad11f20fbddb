// SPDX-License-Identifier: MIT
#include "tlsstat_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <tuple>

#include "number.h"
#include "text.h"

namespace tlsfs::cmd {
namespace {

constexpr std::size_t kMaxFile = 1U << 20U;  // bytes

struct CloseDirectory {
    void operator()(DIR* directory) const { closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

std::map<std::string, std::string> plain_tags(const std::string& text) {
    std::map<std::string, std::string> tags;
    for (const auto& [tag, value] : internal::parse_tags(text)) {
        tags.emplace(plain(tag), plain(value));
    }
    return tags;
}

std::map<std::string, std::uint64_t> counts(const std::string& text) {
    std::map<std::string, std::uint64_t> counts;
    for (const auto& [name, word] : plain_tags(text)) {
        if (const auto value = parse_number<std::uint64_t>(word)) counts.emplace(name, *value);
    }
    return counts;
}

Result<std::vector<unsigned>> numbers_in(const internal::Mount& mount) {
    UniqueFd fd(openat(mount.place.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd.valid()) return system_failure(mount.path);
    const Directory directory(fdopendir(fd.get()));
    if (!directory) return system_failure(mount.path);
    std::ignore = fd.release();
    std::vector<unsigned> numbers;
    errno = 0;
    while (const dirent* entry = readdir(directory.get())) {
        if (const auto number = parse_number<unsigned>(entry->d_name)) numbers.push_back(*number);
    }
    if (errno != 0) return system_failure(mount.path);
    std::ranges::sort(numbers);
    return numbers;
}

}  // namespace

std::string plain(std::string text) {
    for (char& c : text) {
        if (c < 0x20 || c >= 0x7f) c = '?';
    }
    return text;
}

std::string Seen::tag(const std::string& name) const {
    const auto found = status.find(name);
    return found == status.end() ? "" : found->second;
}

std::uint64_t Seen::count(const std::string& name) const {
    const auto found = stats.find(name);
    return found == stats.end() ? 0 : found->second;
}

Result<Tree> Tree::find() {
    std::string places;
    for (const std::string& place : internal::mount_candidates()) {
        if (auto mount = internal::open_mount(place)) return Tree(std::move(*mount));
        places += (places.empty() ? "" : ", ") + place;
    }
    return failure(ENOENT, "no tlsfs is mounted at " + plain(places));
}

Result<std::string> Tree::read(unsigned number, const char* name) const {
    const std::string path = std::to_string(number) + "/" + name;
    const UniqueFd fd(openat(mount_.place.get(), path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd.valid()) return system_failure(path);
    std::string text;
    std::array<char, 4096> part{};
    while (text.size() < kMaxFile) {
        const ssize_t got = ::read(fd.get(), part.data(), part.size());
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return system_failure(path);
        if (got == 0) break;
        text.append(part.data(), static_cast<std::size_t>(got));
    }
    return text;
}

Result<Seen> Tree::look(unsigned number) const {
    const auto status = read(number, "status");
    if (!status) return tl::unexpected(status.error());
    const auto stats = read(number, "stats");
    if (!stats) return tl::unexpected(stats.error());
    return Seen{number, plain_tags(*status), counts(*stats)};
}

Result<std::vector<Seen>> Tree::look() const {
    const auto numbers = numbers_in(mount_);
    if (!numbers) return tl::unexpected(numbers.error());
    std::vector<Seen> all;
    for (const unsigned number : *numbers) {
        auto seen = look(number);
        if (seen) {
            all.push_back(std::move(*seen));
        } else if (seen.error().code != ENOENT) {
            return tl::unexpected(seen.error());
        }
    }
    return all;
}

Result<std::string> Tree::chain(unsigned number) const {
    return read(number, "peer");
}

}  // namespace tlsfs::cmd
