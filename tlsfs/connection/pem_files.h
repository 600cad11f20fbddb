// SPDX-License-Identifier: MIT
// The files `ca`, `cert` and `key`: PEM in, judged as soon as it is whole.
#pragma once

#include <span>
#include <string_view>

#include "core/result.h"
#include "core/settings.h"
#include "engine/pem_judge.h"

namespace tlsfs {

[[nodiscard]] std::string_view pem_name(PemFile file);

class PemFiles {
 public:
    // `texts`: where they are kept.
    PemFiles(PemJudge& judge, Pems& texts) : judge_(judge), texts_(texts) {}

    void start_over(PemFile file);
    [[nodiscard]] Result<> write(PemFile file, std::span<const char> more);
    [[nodiscard]] Result<> finish(PemFile file);  // the last chance to refuse
    // Whether all that was written is good.
    [[nodiscard]] Result<> check() const;
    void wipe();

 private:
    struct Verdict {
        bool unjudged = false;  // bytes were written that nobody has judged
        bool bad = false;
    };

    [[nodiscard]] SecretBytes& text_of(PemFile file);
    [[nodiscard]] Result<> judge(PemFile file);

    PemJudge& judge_;
    Pems& texts_;
    Verdict verdicts_[3];
};

}  // namespace tlsfs
