// SPDX-License-Identifier: MIT
// OpenSSL wipes its keys when it frees them, but not what its PEM decoder read them from. So its
// memory comes from here, and is wiped when freed while a WipeScope is open on the same thread; and
// the end of the scope wipes the stack below it.
#pragma once

namespace tlsfs {

// Before the first use of OpenSSL. Throws std::logic_error if it came too late.
void install_wiping_memory();

class WipeScope {
 public:
    WipeScope();
    WipeScope(const WipeScope&) = delete;
    WipeScope& operator=(const WipeScope&) = delete;
    ~WipeScope();
};

}  // namespace tlsfs
