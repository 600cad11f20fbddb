// SPDX-License-Identifier: MIT
#include "connection/pem_files.h"

#include <fmt/format.h>

#include "core/bounds.h"
#include "engine/pem.h"

namespace tlsfs {

std::string_view pem_name(PemFile file) {
    constexpr std::string_view kNames[] = {"ca", "cert", "key"};
    return kNames[static_cast<int>(file)];
}

SecretBytes& PemFiles::text_of(PemFile file) {
    SecretBytes* const texts[] = {&texts_.ca, &texts_.cert, &texts_.key};
    return *texts[static_cast<int>(file)];
}

void PemFiles::start_over(PemFile file) {
    SecretBytes().swap(text_of(file));  // clear() would keep the bytes
    // Unjudged although empty: a ca into which nothing was written must not mean the system's.
    verdicts_[static_cast<int>(file)] = {true, false};
}

Result<> PemFiles::write(PemFile file, std::span<const char> more) {
    Verdict& verdict = verdicts_[static_cast<int>(file)];
    SecretBytes& text = text_of(file);
    if (text.size() + more.size() > bounds::kPem) {
        verdict.bad = true;
        return failure(EFBIG, fmt::format("{}: more than {} bytes", pem_name(file), bounds::kPem));
    }
    text.insert(text.end(), more.begin(), more.end());
    if (more.empty()) return {};
    verdict.unjudged = true;
    if (!ends_in_block(text)) return {};
    return judge(file);
}

// A shell closes its own copy before anything is written; check() asks again.
Result<> PemFiles::finish(PemFile file) {
    if (!verdicts_[static_cast<int>(file)].unjudged || text_of(file).empty()) return {};
    return judge(file);
}

Result<> PemFiles::judge(PemFile file) {
    auto judged = judge_.judge(file, text_of(file));
    verdicts_[static_cast<int>(file)] = {false, !judged};
    return judged;
}

Result<> PemFiles::check() const {
    for (const PemFile file : {PemFile::ca, PemFile::cert, PemFile::key}) {
        const Verdict& verdict = verdicts_[static_cast<int>(file)];
        if (!verdict.bad && !verdict.unjudged) continue;
        return failure(EINVAL, fmt::format("{}: {}", pem_name(file),
                                           verdict.bad ? "what was written last is no good"
                                                       : "opened, but nothing whole was written"));
    }
    return {};
}

void PemFiles::wipe() {
    for (SecretBytes* text : {&texts_.ca, &texts_.cert, &texts_.key}) SecretBytes().swap(*text);
}

}  // namespace tlsfs
