// SPDX-License-Identifier: MIT
#include "connection/dialling.h"

#include <fmt/format.h>

#include <system_error>
#include <utility>

namespace tlsfs {

using std::chrono::steady_clock;

Result<> Dialling::begin(const command::Dial& target, std::optional<Identity> identity,
                         std::chrono::milliseconds limit, uid_t user) {
    try {
        attempt_ = std::make_shared<Cancellation>();
    } catch (const std::system_error& none_left) {
        return failure(none_left.code().value(), fmt::format("dial: {}", none_left.what()));
    }
    begun_ = steady_clock::now();
    services_.background.run(
        user, [events = events_.shared_from_this(), target, identity = std::move(identity),
               deadline = begun_ + limit, attempt = attempt_] {
            events->dialled(attempt, dial(target, identity, deadline, *attempt));
        });
    // A DNS lookup cannot be cancelled; on timeout it is abandoned.
    timer_ = services_.reactor.after(limit, [weak = events_.weak_from_this()] {
        if (const auto events = weak.lock()) events->dial_timed_out();
    });
    return {};
}

bool Dialling::finish(const std::shared_ptr<Cancellation>& attempt) {
    if (attempt_ != attempt) return false;
    attempt_.reset();
    services_.reactor.cancel(std::exchange(timer_, 0));
    return true;
}

void Dialling::give_up() {
    if (attempt_) std::exchange(attempt_, nullptr)->cancel();
    services_.reactor.cancel(std::exchange(timer_, 0));
}

std::chrono::milliseconds Dialling::since_begun() const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(steady_clock::now() - begun_);
}

}  // namespace tlsfs
