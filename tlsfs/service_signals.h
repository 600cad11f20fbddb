// SPDX-License-Identifier: MIT
// The signals that the main threads of tlsfs(8) and tlskeyd(8) wait for.
#pragma once

#include <pthread.h>
#include <signal.h>

namespace tlsfs {

// Blocks them, to be called before there are threads, and ignores SIGPIPE. Returns their set.
inline sigset_t block_service_signals() {
    sigset_t set;
    sigemptyset(&set);
    for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, number);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    signal(SIGPIPE, SIG_IGN);
    return set;
}

}  // namespace tlsfs
