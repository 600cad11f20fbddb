// SPDX-License-Identifier: MIT
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "../../e2e/programs/pattern.h"
#include "fail.h"
#include "loads.h"
#include "measure.h"
#include "socket.h"

namespace bench {
namespace {

// The buffer begins with a page, as those of cat, cp and dd do.
struct Bulk {
    static constexpr std::size_t kPage = 4096;
    explicit Bulk(const Options& options)
        : count(options.number("count")),
          check(options.number("check", 0) != 0),
          memory(options.number("block", 128 << 10) + kPage) {
        void* begin = memory.data();
        std::size_t room = memory.size();
        std::align(kPage, memory.size() - kPage, begin, room);
        buffer = {static_cast<char*>(begin), memory.size() - kPage};
    }
    std::uint64_t count;
    bool check;
    std::vector<char> memory;
    std::span<char> buffer;
};

void write_all(Stream& stream, Bulk& bulk) {
    for (std::uint64_t done = 0; done < bulk.count; done += bulk.buffer.size()) {
        const auto piece =
            bulk.buffer.first(std::min<std::uint64_t>(bulk.buffer.size(), bulk.count - done));
        if (bulk.check) pattern::fill(done, piece);
        stream.write(piece);
    }
}

void read_all(Stream& stream, Bulk& bulk) {
    pattern::Checker checker;
    for (std::uint64_t done = 0; done < bulk.count;) {
        const auto room =
            bulk.buffer.first(std::min<std::uint64_t>(bulk.buffer.size(), bulk.count - done));
        const std::size_t count = stream.read(room);
        done += count;
        if (bulk.check && !checker.accept(room.first(count))) {
            errno = EBADMSG;
            fail("wrong bytes");
        }
    }
}

UniqueFd temporary_file(std::uint64_t size) {
    UniqueFd file(memfd_create("file", MFD_CLOEXEC));
    std::vector<char> bytes(size);
    pattern::fill(0, bytes);
    for (std::size_t done = 0; done < size;) {
        const ssize_t count = ::write(file.get(), bytes.data() + done, size - done);
        if (count <= 0) fail("memfd");
        done += static_cast<std::size_t>(count);
    }
    return file;
}

}  // namespace

// The clock stops when the endpoint says that it has everything.
void send_bulk(Transport& transport, const Options& options) {
    Bulk bulk(options);
    const auto stream = transport.open();
    ask(*stream, {bulk.check ? kCheckedSink : kSink, 0, bulk.count});
    expect_byte(*stream, kGo);
    wait_for_start();
    Json json;
    const Stopwatch watch;
    write_all(*stream, bulk);
    expect_byte(*stream, kDone);
    watch.report(json);
    finish(json.text());
}

void receive_bulk(Transport& transport, const Options& options) {
    Bulk bulk(options);
    const auto stream = transport.open();
    ask(*stream, {kSource, 0, bulk.count});
    expect_byte(*stream, kGo);
    wait_for_start();
    Json json;
    const Stopwatch watch;
    stream->write({&kGo, 1});
    read_all(*stream, bulk);
    watch.report(json);
    finish(json.text());
}

void send_file(Transport& transport, const Options& options) {
    const std::uint64_t count = options.number("count");
    const UniqueFd file = temporary_file(count);
    const auto stream = transport.open();
    ask(*stream, {options.number("check", 0) != 0 ? kCheckedSink : kSink, 0, count});
    expect_byte(*stream, kGo);
    wait_for_start();
    Json json;
    const Stopwatch watch;
    stream->send_file(file.get(), count);
    expect_byte(*stream, kDone);
    watch.report(json);
    finish(json.text());
}

}  // namespace bench
