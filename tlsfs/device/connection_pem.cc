// SPDX-License-Identifier: MIT
// `ca`, `cert` and `key`: PEM in, judged as soon as it is whole, wiped when the handshake has it.
#include <fmt/format.h>

#include "core/bounds.h"
#include "device/connection.h"
#include "engine/pem.h"

namespace tlsfs {
namespace {

constexpr std::string_view kNames[] = {"ca", "cert", "key"};

SecretBytes& text_of(Settings& settings, PemFile file) {
    SecretBytes* const texts[] = {&settings.ca, &settings.cert, &settings.key};
    return *texts[static_cast<int>(file)];
}

}  // namespace

Result<> Connection::pem_begin(PemFile file, bool append) {
    const std::scoped_lock guard(lock_);
    const auto name = kNames[static_cast<int>(file)];
    if (state_ != State::fresh) return failure(EBUSY, fmt::format("{}: too late", name));
    if (append) return {};
    SecretBytes().swap(text_of(settings_, file));  // clear() would keep the bytes
    // Unjudged although empty: a ca into which nothing was written must not mean the system's.
    pem_[static_cast<int>(file)] = {true, false};
    return {};
}

Result<> Connection::pem_write(PemFile file, std::span<const char> more) {
    const std::scoped_lock guard(lock_);
    const auto name = kNames[static_cast<int>(file)];
    Pem& pem = pem_[static_cast<int>(file)];
    SecretBytes& text = text_of(settings_, file);
    auto written = [&]() -> Result<> {
        if (state_ != State::fresh) return failure(EBUSY, fmt::format("{}: too late", name));
        if (text.size() + more.size() > bounds::kPem) {
            pem.bad = true;
            return failure(EFBIG, fmt::format("{}: more than {} bytes", name, bounds::kPem));
        }
        text.insert(text.end(), more.begin(), more.end());
        if (more.empty()) return {};
        pem.unjudged = true;
        if (!ends_in_block(text)) return {};
        auto judged = services_.pems.judge(file, text);
        pem = {false, !judged};
        return judged;
    }();
    if (!written) facts_.error = written.error().text;
    return written;
}

Result<> Connection::pem_finish(PemFile file) {
    const std::scoped_lock guard(lock_);
    Pem& pem = pem_[static_cast<int>(file)];
    // A shell closes its own copy before anything is written; `client` and `server` ask again.
    if (!pem.unjudged || state_ != State::fresh || text_of(settings_, file).empty()) return {};
    auto judged = services_.pems.judge(file, text_of(settings_, file));
    pem = {false, !judged};
    if (!judged) facts_.error = judged.error().text;
    return judged;
}

Result<> Connection::check_pems() const {
    for (const PemFile file : {PemFile::ca, PemFile::cert, PemFile::key}) {
        const Pem& pem = pem_[static_cast<int>(file)];
        if (!pem.bad && !pem.unjudged) continue;
        return failure(EINVAL, fmt::format("{}: {}", kNames[static_cast<int>(file)],
                                           pem.bad ? "what was written last is no good"
                                                   : "opened, but nothing whole was written"));
    }
    return {};
}

}  // namespace tlsfs
