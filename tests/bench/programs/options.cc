// SPDX-License-Identifier: MIT
#include "options.h"

#include <cstdio>
#include <cstdlib>

namespace bench {
namespace {

[[noreturn]] void usage(const std::string& problem) {
    std::fprintf(stderr, "%s\n", problem.c_str());
    std::exit(100);
}

}  // namespace

Options::Options(int argc, char** argv) {
    for (int i = 1; i < argc; i += 2) {
        const std::string word = argv[i];
        if (!word.starts_with("--") || i + 1 == argc) usage(word + ": --name value is expected");
        said_.emplace_back(word.substr(2), argv[i + 1]);
    }
}

std::vector<std::string> Options::all(const std::string& name) const {
    std::vector<std::string> values;
    for (const auto& [key, value] : said_)
        if (key == name) values.push_back(value);
    return values;
}

std::string Options::text(const std::string& name) const {
    const auto values = all(name);
    if (values.empty()) usage("--" + name + " is missing");
    return values.back();
}

std::string Options::text(const std::string& name, const std::string& otherwise) const {
    const auto values = all(name);
    return values.empty() ? otherwise : values.back();
}

std::uint64_t Options::number(const std::string& name) const {
    return std::strtoull(text(name).c_str(), nullptr, 10);
}

std::uint64_t Options::number(const std::string& name, std::uint64_t otherwise) const {
    const std::string value = text(name, "");
    return value.empty() ? otherwise : std::strtoull(value.c_str(), nullptr, 10);
}

}  // namespace bench
