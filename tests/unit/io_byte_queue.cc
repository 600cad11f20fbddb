// SPDX-License-Identifier: MIT
#include "io/byte_queue.h"

#include <doctest/doctest.h>

#include <random>
#include <string>

#include "support/descriptors.h"

using namespace tlsfs;
using test::bytes;
using test::text;

TEST_CASE("byte queue: first in, first out") {
    ByteQueue queue;
    CHECK(queue.empty());
    queue.append(bytes("hello"));
    queue.consume(2);
    queue.append(bytes(" world"));
    CHECK(queue.size() == 9);
    CHECK(text(queue.bytes()) == "llo world");
    queue.consume(9);
    CHECK(queue.empty());
    CHECK(queue.bytes().empty());
}

TEST_CASE("byte queue: nothing appended is nothing") {
    ByteQueue queue;
    queue.append({});
    queue.consume(0);
    CHECK(queue.empty());
}

TEST_CASE("byte queue: prepare without a commit changes nothing") {
    ByteQueue queue;
    CHECK(queue.prepare(100).size() >= 100);
    queue.commit(0);
    CHECK(queue.empty());
    queue.append(bytes("ab"));
    CHECK(queue.prepare(1000).size() >= 1000);
    queue.commit(0);
    CHECK(text(queue.bytes()) == "ab");
}

TEST_CASE("byte queue: against a string") {
    std::mt19937 random(1);
    ByteQueue queue;
    std::string model;
    for (int round = 0; round < 5000; ++round) {
        if (random() % 2 == 0) {
            const std::string more(random() % 3000, static_cast<char>('a' + round % 26));
            queue.append(bytes(more));
            model += more;
        } else {
            const std::size_t count = model.empty() ? 0 : random() % (model.size() + 1);
            queue.consume(count);
            model.erase(0, count);
        }
        REQUIRE(queue.size() == model.size());
    }
    CHECK(text(queue.bytes()) == model);
}

// A peer that keeps asking for new keys and does not read makes the output grow by 27 bytes at a
// time.
TEST_CASE("byte queue: a large queue does not move for every small append") {
    ByteQueue queue;
    queue.append(bytes(std::string(3U << 20U, 'x')));
    int moves = 0;
    for (int i = 0; i < 1000; ++i) {
        const auto* before = queue.bytes().data();
        queue.append(bytes("a KeyUpdate and its tag...."));
        if (queue.bytes().data() != before) ++moves;
    }
    CHECK(moves <= 2);
}
