// SPDX-License-Identifier: MIT
// The options that the commands share, and the parsing of a command line.
#pragma once

#include <CLI/CLI.hpp>
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "report.h"
#include "tlsclient.hpp"

namespace tlsfs::cmd {

// A command line whose options come first. What follows belongs to another program, and is left as
// it is.
class CommandLine {
 public:
    CommandLine(const std::string& synopsis, const std::string& description);

    [[nodiscard]] CLI::App& options() { return app_; }

    // Names as in "-a,--alpn": the short letters are not the same in all commands.
    void add_policy(Policy& policy, const std::string& alpn_names);
    struct ClientNames {
        std::string ca_file, cert, key;
    };
    void add_client(ClientOptions& options, const ClientNames& names);
    void add_server(ServerOptions& options);
    void add_talk(Talk& talk);

    // Parses; on --help and on a mistake returns the exit code, having said all there is to say.
    [[nodiscard]] std::optional<int> parse(int argc, const char* const* argv);

    // What stands behind the options.
    [[nodiscard]] const std::vector<std::string>& words() const { return words_; }

    // Says what is wrong with the command line.
    static int misused(const std::string& what);

 private:
    CLI::App app_;
    const Policy* policy_ = nullptr;
    const ServerOptions* server_ = nullptr;
    std::vector<std::string> words_;
};

// An option that may be given several times, with one word each time.
CLI::Option* add_list(CLI::App& app, const std::string& names, std::vector<std::string>& list,
                      const std::string& description);

// An option in seconds, fractions allowed, from `lowest` to a day.
CLI::Option* add_seconds(CLI::App& app, const std::string& names, std::chrono::milliseconds& time,
                         const std::string& description, double lowest = 0.001);

}  // namespace tlsfs::cmd
