// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <string>
#include <thread>

#include "pem_copy.h"

using tlsfs::UniqueFd;
using tlsfs::internal::copy_pem;
using tlsfs::internal::CopyFailure;

namespace {

UniqueFd memory_file(const std::string& text) {
    UniqueFd file(memfd_create("test", MFD_CLOEXEC));
    REQUIRE(write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    REQUIRE(lseek(file.get(), 0, SEEK_SET) == 0);
    return file;
}

std::string content(int file) {
    std::string text(1 << 20, '\0');
    const ssize_t size = pread(file, text.data(), text.size(), 0);
    REQUIRE(size >= 0);
    text.resize(static_cast<std::size_t>(size));
    return text;
}

}  // namespace

TEST_CASE("a file is copied whole, whatever its size") {
    for (const std::size_t size : {0U, 1U, 65536U, 65537U, 300'000U}) {
        const std::string text(size, 'x');
        const auto source = memory_file(text);
        const auto destination = memory_file("");
        REQUIRE(copy_pem(source.get(), UniqueFd(dup(destination.get()))));
        CHECK(content(destination.get()) == text);
    }
}

TEST_CASE("a pipe can be the source, as in <(command)") {
    std::array<int, 2> ends{};
    REQUIRE(pipe(ends.data()) == 0);
    const UniqueFd out(ends[0]);
    std::thread writer([in = ends[1]] {
        const std::string text(200'000, 'y');
        CHECK(write(in, text.data(), text.size()) == 200'000);
        close(in);
    });
    const auto destination = memory_file("");
    const auto copied = copy_pem(out.get(), UniqueFd(dup(destination.get())));
    writer.join();
    REQUIRE(copied);
    CHECK(content(destination.get()) == std::string(200'000, 'y'));
}

TEST_CASE("a source that cannot be spliced is read") {
    const UniqueFd source(open("/proc/self/status", O_RDONLY | O_CLOEXEC));
    const auto destination = memory_file("");
    REQUIRE(copy_pem(source.get(), UniqueFd(dup(destination.get()))));
    CHECK(content(destination.get()).starts_with("Name:"));
}

TEST_CASE("a failure names the end where it happened") {
    const auto file = memory_file("text");
    const UniqueFd unreadable(open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    const auto from_directory = copy_pem(unreadable.get(), UniqueFd(dup(file.get())));
    REQUIRE_FALSE(from_directory);
    CHECK(from_directory.error().at == CopyFailure::At::source);

    const auto into_readonly = copy_pem(file.get(), UniqueFd(open("/dev/null", O_RDONLY)));
    REQUIRE_FALSE(into_readonly);
    CHECK(into_readonly.error().at == CopyFailure::At::destination);
}
