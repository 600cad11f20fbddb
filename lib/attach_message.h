// SPDX-License-Identifier: MIT
// The messages of `attach`, as a guest sends and reads them. Nothing here does I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/unique_fd.h"

namespace tlsfs::internal {

inline constexpr std::size_t kMaxMessage = 16384;
inline constexpr std::size_t kMaxDescriptors = 8;

// One request: a first line, ctl lines, and the descriptors that the lines name by a `-`.
class AttachRequest {
 public:
    // `first_line` has no newline: "open", "status 7".
    explicit AttachRequest(std::string_view first_line) : text_(std::string(first_line) + '\n') {}

    // Whole ctl lines, each with its newline.
    void add_lines(std::string_view lines) { text_ += lines; }

    // The line `verb -`, or `verb - -` if the two descriptors differ. They stay the caller's and
    // must be open until the request was sent.
    void add_stream(std::string_view verb, int read_fd, int write_fd);

    // Descriptors that no line names: one, or two if they differ.
    void add_descriptors(int read_fd, int write_fd);

    // The line `verb -` with a file that this request owns.
    void add_file(std::string_view verb, UniqueFd file);

    [[nodiscard]] const std::string& text() const { return text_; }
    [[nodiscard]] const std::vector<int>& descriptors() const { return descriptors_; }

 private:
    std::string text_;
    std::vector<int> descriptors_;
    std::vector<UniqueFd> owned_;
};

// What receiving brought.
struct AttachReply {
    enum class Kind : std::uint8_t {
        pending,  // nothing yet
        answer,   // `ok`
        state,    // the connection's state has changed; `text` has the lines of status
        end,      // the companion has closed the socket
    };
    Kind kind = Kind::pending;
    std::optional<unsigned> number;  // of `ok N`
    std::string text;                // the lines after the first
    UniqueFd descriptor;             // what came with an answer
};

// An answer or a state, without its descriptor. An answer that is a failure is an error with its
// errno and reason. EPROTO for what is none of these.
[[nodiscard]] Result<AttachReply> parse_attach_reply(std::string_view text);

// The errno of that name, 0 if there is none.
[[nodiscard]] int errno_of_name(std::string_view name);

}  // namespace tlsfs::internal
