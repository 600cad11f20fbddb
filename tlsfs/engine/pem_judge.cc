// SPDX-License-Identifier: MIT
#include "engine/pem_judge.h"

#include <algorithm>

#include "engine/pem.h"
#include "engine/sha256.h"
#include "engine/wiping_memory.h"

namespace tlsfs {
namespace {

template <class T>
Result<> verdict(const Result<T>& parsed) {
    if (!parsed) return tl::unexpected(parsed.error());
    return {};
}

Result<> parse(PemFile file, const SecretBytes& pem) {
    switch (file) {
        case PemFile::ca:
            return verdict(parse_authorities(pem));
        case PemFile::cert:
            return verdict(parse_chain(pem));
        case PemFile::key:
            return verdict(parse_key(pem));
    }
    return {};
}

std::string digest_of(PemFile file, const SecretBytes& pem) {
    Sha256 digest;
    digest.add(&file, sizeof file);
    digest.add(pem.data(), pem.size());
    return digest.finish();
}

}  // namespace

bool PemJudge::known(const std::string& digest) {
    const std::scoped_lock guard(lock_);
    const auto found = std::ranges::find(good_, digest);
    if (found == good_.end()) return false;
    good_.splice(good_.begin(), good_, found);
    return true;
}

void PemJudge::remember(std::string digest) {
    const std::scoped_lock guard(lock_);
    good_.push_front(std::move(digest));
    if (good_.size() > kRemembered) good_.pop_back();
}

Result<> PemJudge::judge(PemFile file, const SecretBytes& pem) {
    const WipeScope hashed_text;
    std::string digest = digest_of(file, pem);
    if (known(digest)) return {};
    auto judged = parse(file, pem);
    if (judged) remember(std::move(digest));
    return judged;
}

}  // namespace tlsfs
