// SPDX-License-Identifier: MIT
// Waking a processor that sleeps takes longer than most requests do, in a virtual machine most of
// all. So where the next request, or the peer's answer, is likely to come at once, the thread that
// has answered stays awake a moment, and yields to whoever has something to do.
#pragma once

namespace tlsfs {

// To be called while a request is handled: another is likely to follow its answer.
void expect_next_request();

// Returns when `device` has a request, or after a moment; at once if none is expected, or another
// thread looks out already.
void look_out_for_request(int device);

}  // namespace tlsfs
