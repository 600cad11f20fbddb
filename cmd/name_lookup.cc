// SPDX-License-Identifier: MIT
#include "name_lookup.h"

#include <sys/eventfd.h>

#include <cerrno>
#include <mutex>
#include <system_error>
#include <thread>
#include <tuple>

namespace tlsfs::cmd {
namespace {

Addresses as_addresses(const AddressList& list) {
    Addresses addresses;
    for (const addrinfo* each = list.get(); each != nullptr; each = each->ai_next) {
        addresses.emplace_back(each->ai_addr, each->ai_addrlen);
    }
    return addresses;
}

}  // namespace

struct NameLookup::Shared {
    UniqueFd over{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    std::mutex lock;
    Result<Addresses> outcome;  // guarded by lock
};

Addresses numeric_addresses(const HostPort& place) {
    std::string why;
    return as_addresses(resolve(place, AF_UNSPEC, AI_NUMERICHOST, why));
}

NameLookup::NameLookup(const HostPort& place) : shared_(std::make_shared<Shared>()) {
    if (!shared_->over.valid()) throw std::system_error(errno, std::generic_category(), "eventfd");
    std::thread([shared = shared_, place] {
        std::string why;
        Addresses addresses = as_addresses(resolve(place, AF_UNSPEC, 0, why));
        const std::scoped_lock guard(shared->lock);
        if (addresses.empty()) shared->outcome = failure(EHOSTUNREACH, why);
        if (!addresses.empty()) shared->outcome = std::move(addresses);
        std::ignore = eventfd_write(shared->over.get(), 1);
    }).detach();
}

int NameLookup::fd() const {
    return shared_->over.get();
}

Result<Addresses> NameLookup::take() {
    const std::scoped_lock guard(shared_->lock);
    return std::move(shared_->outcome);
}

}  // namespace tlsfs::cmd
