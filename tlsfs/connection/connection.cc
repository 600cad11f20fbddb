// SPDX-License-Identifier: MIT
// What the fronts call: each call takes the lock and has the parts do it.
#include "connection/connection.h"

#include <fmt/format.h>

#include "connection/given_stream.h"

namespace tlsfs {

Connection::Connection(Number number, Caller owner, const Services& services,
                       std::shared_ptr<const Policy> policy, std::unique_ptr<KernelEnd> kernel)
    : services_(services),
      policy_(std::move(policy)),
      endpoint_(services, *this, number, owner, first_settings(*policy_), std::move(kernel)),
      ctl_(endpoint_, policy_) {}

Connection::~Connection() {
    if (over_ && endpoint_.kernel() != nullptr) endpoint_.kernel()->forget();
}

bool Connection::opened() {
    const std::scoped_lock guard(lock_);
    if (over_) return false;
    ++endpoint_.facts().opens;
    return true;
}

bool Connection::released() {
    Answers answers;
    const std::scoped_lock guard(lock_);
    if (--endpoint_.facts().opens > 0) return false;
    over_ = true;
    endpoint_.release(answers);
    ctl_.end(ECONNABORTED, answers);
    return true;
}

void Connection::abandon(int code) {
    Answers answers;
    const std::scoped_lock guard(lock_);
    if (endpoint_.in_kernel()) return;  // it needs no companion
    endpoint_.abandon({code, "the companion is stopping"}, answers);
    ctl_.end(code, answers);
}

void Connection::signalled() {
    Answers answers;
    const std::scoped_lock guard(lock_);
    ctl_.signalled(answers);
    if (UserChannel* user = endpoint_.user()) user->signalled();
}

void Connection::ctl(std::unique_ptr<CtlRequest> request) {
    Answers answers;
    const std::scoped_lock guard(lock_);
    ctl_.write(std::move(request), answers);
    rearm();
}

void Connection::make_trial() {
    const std::scoped_lock guard(lock_);
    endpoint_.facts().trial = true;
}

Result<> Connection::attach(UniqueFd read, UniqueFd write) {
    const std::scoped_lock guard(lock_);
    Setup* setup = fresh_setup();
    auto set = [&]() -> Result<> {
        if (setup == nullptr || ctl_.waits()) return failure(EBUSY, "attach: too late");
        if (setup->has_transport()) return failure(EBUSY, "attach: there is a transport already");
        return setup->take_transport(std::move(read), std::move(write));
    }();
    for (UniqueFd* unused : {&read, &write}) {
        if (unused->valid()) give_back(services_, owner().uid, std::move(*unused));
    }
    if (!set) endpoint_.facts().fields.error = set.error().text;
    return set;
}

std::uint32_t Connection::poll_ctl(const void* file, std::unique_ptr<Poller> poller) {
    const std::scoped_lock guard(lock_);
    return ctl_.poll(file, std::move(poller));
}

void Connection::forget_poller(const void* file) {
    const std::scoped_lock guard(lock_);
    ctl_.forget_poller(file);
}

Setup* Connection::fresh_setup() {
    return endpoint_.state() == State::fresh ? endpoint_.setup() : nullptr;
}

Result<> Connection::pem_begin(PemFile file, bool append) {
    const std::scoped_lock guard(lock_);
    Setup* setup = fresh_setup();
    if (setup == nullptr) return failure(EBUSY, fmt::format("{}: too late", pem_name(file)));
    if (file != PemFile::ca) {
        if (auto own = permits_own_key(*policy_, pem_name(file)); !own) return own;
    }
    if (!append) setup->pems().start_over(file);
    return {};
}

Result<> Connection::pem_write(PemFile file, std::span<const char> text) {
    const std::scoped_lock guard(lock_);
    Setup* setup = fresh_setup();
    auto written = setup != nullptr
                       ? setup->pems().write(file, text)
                       : Result<>(failure(EBUSY, fmt::format("{}: too late", pem_name(file))));
    if (!written) endpoint_.facts().fields.error = written.error().text;
    return written;
}

Result<> Connection::pem_finish(PemFile file) {
    const std::scoped_lock guard(lock_);
    Setup* setup = fresh_setup();
    if (setup == nullptr) return {};
    auto judged = setup->pems().finish(file);
    if (!judged) endpoint_.facts().fields.error = judged.error().text;
    return judged;
}

std::string Connection::status() {
    const std::scoped_lock guard(lock_);
    return endpoint_.status();
}

std::string Connection::stats() {
    const std::scoped_lock guard(lock_);
    return endpoint_.stats();
}

Result<std::string> Connection::peer() {
    const std::scoped_lock guard(lock_);
    return endpoint_.peer();
}

bool Connection::data_is_ours() {
    const std::scoped_lock guard(lock_);
    return endpoint_.kernel() == nullptr || endpoint_.user() != nullptr;
}

void Connection::adopt(const StatusFields& facts) {
    const std::scoped_lock guard(lock_);
    endpoint_.adopt(facts);
}

void Connection::absorb(std::string_view messages) {
    const std::scoped_lock guard(lock_);
    endpoint_.absorb(messages);
}

}  // namespace tlsfs
