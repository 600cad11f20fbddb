// SPDX-License-Identifier: MIT
// tlsstat(1): the connections of a mount, to look at.
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <optional>
#include <thread>

#include "arguments.h"
#include "number.h"
#include "report.h"
#include "tlsstat_export.h"
#include "tlsstat_table.h"

namespace tlsfs::cmd {
namespace {

using std::chrono::duration;
using Clock = RateMeter::Clock;

struct Arguments {
    std::optional<double> every;  // seconds
    bool as_json = false;
    bool for_prometheus = false;
};

void add_options(CommandLine& line, Arguments& arguments) {
    constexpr double kUsualPause = 2;
    CLI::App& app = line.options();
    const auto watch = [&arguments](const CLI::results_t& words) {
        double seconds = kUsualPause;
        const bool good = words.empty() || words.front().empty() ||
                          CLI::detail::lexical_cast(words.front(), seconds);
        // Also when it is no number at all.
        if (!good || !(seconds >= 0.1 && seconds <= 86400)) {
            throw CLI::ValidationError("-w takes 0.1 to 86400 seconds");
        }
        arguments.every = seconds;
        return true;
    };
    auto* live = app.add_option("-w,--watch", watch, "Again and again, with rates (2)")
                     ->expected(0, 1)
                     ->type_name("[SECONDS]");
    auto* as_json = app.add_flag("--json", arguments.as_json, "A JSON array");
    app.add_flag("--prometheus", arguments.for_prometheus, "Prometheus' text format")
        ->excludes(as_json)
        ->excludes(live);
}

int fail(const Error& error) {
    return complain(kExitSystem, error.text);
}

// False once nobody reads any more.
bool put(const std::string& text) {
    return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() &&
           std::fflush(stdout) == 0;
}

int print(const std::string& text) {
    return put(text) ? 0 : complain_of_system("standard output");
}

std::string joined(const std::vector<std::string>& lines) {
    std::string text;
    for (const std::string& line : lines) text += line + "\n";
    return text;
}

struct Screen {
    std::size_t rows, columns;
};

std::optional<Screen> screen() {
    winsize size{};
    if (isatty(STDOUT_FILENO) == 0) return std::nullopt;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row < 3 || size.ws_col < 20) {
        return Screen{24, 80};
    }
    return Screen{size.ws_row, size.ws_col};
}

// As much as fits, over what stood there before.
std::string redrawn(std::vector<std::string> lines, Screen screen) {
    const std::size_t room = screen.rows - 1;
    if (lines.size() > room) {
        const std::size_t hidden = lines.size() - room + 1;
        lines.resize(room - 1);
        lines.push_back("... and " + std::to_string(hidden) + " more");
    }
    std::string text = "\x1b[H";
    for (const std::string& line : lines) text += line.substr(0, screen.columns) + "\x1b[K\n";
    return text + "\x1b[J";
}

int show_all(const Tree& tree, const Arguments& arguments) {
    const auto all = tree.look();
    if (!all) return fail(all.error());
    if (arguments.as_json) return print(json(*all, nullptr));
    if (arguments.for_prometheus) return print(exposition(*all));
    return print(joined(table(*all, nullptr)));
}

int show_one(const Tree& tree, unsigned number, const Arguments& arguments) {
    const auto seen = tree.look(number);
    if (!seen && seen.error().code == ENOENT) {
        return complain(kExitSystem, "there is no connection " + std::to_string(number));
    }
    if (!seen) return fail(seen.error());
    std::vector<CertificateWords> chain;  // none: before the handshake, or a peer without one
    if (const auto pem = tree.chain(number)) chain = chain_in_words(*pem);
    return print(arguments.as_json ? json(*seen, chain) : joined(description(*seen, chain)));
}

int watch(const Tree& tree, const Arguments& arguments) {
    RateMeter meter;
    const auto pause =
        std::chrono::duration_cast<Clock::duration>(duration<double>(*arguments.every));
    const bool redraw = screen().has_value() && !arguments.as_json;
    if (redraw && !put("\x1b[2J")) return complain_of_system("standard output");
    for (auto next = Clock::now();; next += pause) {
        std::this_thread::sleep_until(next);
        const auto all = tree.look();
        if (!all) return fail(all.error());
        const Rates rates = meter.measure(*all, Clock::now());
        std::string text;
        if (arguments.as_json) {
            text = json(*all, &rates);
        } else if (const auto size = redraw ? screen() : std::nullopt) {
            text = redrawn(table(*all, &rates, size->columns), *size);
        } else {
            text = joined(table(*all, &rates)) + "\n";
        }
        if (!put(text)) return complain_of_system("standard output");
    }
}

int main_with(int argc, const char* const* argv) {
    Arguments arguments;
    CommandLine line(
        "tlsstat [--json|--prometheus]\n"
        "       tlsstat -w [SECONDS] [--json]\n"
        "       tlsstat [--json] N",
        "Shows the TLS connections that you may see, or all about connection N.");
    add_options(line, arguments);
    if (const auto exit_code = line.parse(argc, argv)) return *exit_code;

    const std::vector<std::string>& words = line.words();
    if (words.size() > 1) return CommandLine::misused("one connection at a time");
    const auto number = words.empty() ? std::nullopt : parse_number<unsigned>(words.front());
    if (!words.empty() && !number) {
        return CommandLine::misused("'" + plain(words.front()) + "' is no number of a connection");
    }
    if (number && (arguments.every || arguments.for_prometheus)) {
        return CommandLine::misused("-w and --prometheus are for all connections");
    }
    const auto tree = Tree::find();
    if (!tree) return fail(tree.error());
    if (number) return show_one(*tree, *number, arguments);
    return arguments.every ? watch(*tree, arguments) : show_all(*tree, arguments);
}

}  // namespace
}  // namespace tlsfs::cmd

int main(int argc, char** argv) {
    return tlsfs::cmd::guarded(tlsfs::cmd::main_with, argc, argv);
}
