// SPDX-License-Identifier: MIT
#include "connection/given_stream.h"

namespace tlsfs {

Result<ByteStream> adopt_given(const Services& services, uid_t user, UniqueFd read,
                               UniqueFd write) {
    auto stream = ByteStream::adopt(read, write, services.mount_device);
    for (UniqueFd* refused : {&read, &write}) {
        if (refused->valid()) give_back(services, user, std::move(*refused));
    }
    return stream;
}

void give_back(const Services& services, uid_t user, UniqueFd fd) {
    services.background.close(user, std::move(fd));
}

}  // namespace tlsfs
