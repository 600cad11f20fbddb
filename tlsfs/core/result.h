// SPDX-License-Identifier: MIT
// How a function here says that it failed: an errno for the program, one line of cause for the
// person.
#pragma once

#include <cerrno>
#include <cstring>
#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace tlsfs {

struct Error {
    int code = 0;      // an errno value, positive
    std::string text;  // one line, no trailing newline, never a secret
};

template <class T = void>
using Result = tl::expected<T, Error>;

[[nodiscard]] inline tl::unexpected<Error> failure(int code, std::string text) {
    return tl::unexpected<Error>(Error{code, std::move(text)});
}

// The failure of the system call just made; `what` says what was tried.
[[nodiscard]] inline tl::unexpected<Error> system_failure(const std::string& what) {
    const int code = errno;
    return failure(code, what + ": " + std::strerror(code));
}

}  // namespace tlsfs
