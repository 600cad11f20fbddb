// SPDX-License-Identifier: MIT
// A handshake under way: its stream, what it waits for, its time limit.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "connection/events.h"
#include "connection/facts.h"
#include "connection/services.h"
#include "engine/record_stream.h"
#include "io/reactor.h"

namespace tlsfs {

class Handshake {
 public:
    struct Terms {
        bool keep_secrets = false;  // it may end in the kernel
        bool slow = false;          // a token signs
    };
    // Nothing is sent before go_on().
    Handshake(const Services& services, ConnectionEvents& events, Facts& facts,
              std::unique_ptr<RecordStream> stream, Terms terms);
    Handshake(const Handshake&) = delete;
    Handshake& operator=(const Handshake&) = delete;
    // One that is given up; an alert may still have to go out.
    ~Handshake();

    void limit(std::chrono::milliseconds time);
    // Waits for the signature where keys are in tlskeyd (io/key_client). A slow one is for a
    // background thread of the connection's user; what else wants the connection waits with it.
    [[nodiscard]] Step go_on();
    [[nodiscard]] bool is_slow() const { return terms_.slow; }
    void fired(int fd);  // the transport is ready
    void rearm();

    [[nodiscard]] RecordStream& stream() { return *stream_; }
    [[nodiscard]] const RecordStream& stream() const { return *stream_; }

    // It has succeeded: no more limit. What it took.
    [[nodiscard]] std::chrono::microseconds done();
    void stop_watching();
    [[nodiscard]] std::unique_ptr<RecordStream> take_stream();

 private:
    const Services& services_;
    Facts& facts_;
    ConnectionEvents& events_;
    std::unique_ptr<RecordStream> stream_;
    const Terms terms_;
    bool begun_to_speak_ = false;
    Reactor::Watch read_watch_, write_watch_;
    std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
    Reactor::TimerId timer_ = 0;
};

}  // namespace tlsfs
