// SPDX-License-Identifier: MIT
// Arguments: `--name value`, always in pairs. An option may be said several times.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace bench {

class Options {
 public:
    Options(int argc, char** argv);

    // What was not said and has no default ends the program.
    [[nodiscard]] std::string text(const std::string& name) const;
    [[nodiscard]] std::string text(const std::string& name, const std::string& otherwise) const;
    [[nodiscard]] std::vector<std::string> all(const std::string& name) const;
    [[nodiscard]] std::uint64_t number(const std::string& name) const;
    [[nodiscard]] std::uint64_t number(const std::string& name, std::uint64_t otherwise) const;

 private:
    std::vector<std::pair<std::string, std::string>> said_;
};

}  // namespace bench
