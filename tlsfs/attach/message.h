// SPDX-License-Identifier: MIT
// What guests of `attach` say: text in, one request out. Pure; see tls(4), Attach.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "engine/pem_judge.h"

namespace tlsfs {

inline constexpr std::size_t kMaxMessage = 16384;  // bytes, both ways
inline constexpr std::size_t kMaxDescriptors = 8;  // of one message

struct AttachMessage {
    enum class Verb : std::uint8_t {
        open,
        open_bare,
        check,  // all of `open` that goes before the first record
        fd,
        socket,
        list,
        status,
        stats,
        peer,
        ciphers,
        engines,
        ctl,
    };
    struct Pem {
        PemFile file;
        std::size_t descriptor;  // the message's, from 0
    };

    Verb verb = Verb::list;
    std::uint32_t number = 0;  // of a connection, where the verb has one
    std::vector<Pem> pems;
    // What is left for ctl. Its lines `fd` and `plain` name descriptors of the message, from 0.
    std::string lines;
    bool chooses_plain = false;  // there is a line `plain`
    bool tied = false;           // `open` has a line `tied`: the guest's end is the program's
};

// EINVAL and one line of cause. `descriptors` is how many came with the text; each is used once.
[[nodiscard]] Result<AttachMessage> parse_attach_message(std::string_view text,
                                                         std::size_t descriptors);

// `text`, cut at the end of a line where it is longer than `size`.
[[nodiscard]] std::string cut_to_lines(std::string text, std::size_t size);

}  // namespace tlsfs
