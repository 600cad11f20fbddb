// SPDX-License-Identifier: MIT
// Stands in for libFuzzer: every file of the directories named, and simple variations of each.
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

void run(const std::string& input) {
    // A copy of the exact size: a sanitizer sees what lies behind.
    const std::string exact(input);
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(exact.data()), exact.size());
}

void vary(const std::string& input) {
    run(input);
    const std::size_t step = input.size() / 64 + 1;
    for (std::size_t i = 0; i < input.size(); i += step) {
        run(input.substr(0, i));
        run(input.substr(i));
        std::string changed = input;
        for (const char c : {'\0', '\n', '\'', ' ', '-', '\xff'}) {
            changed[i] = c;
            run(changed);
        }
        run(input.substr(0, i) + input);
    }
}

}  // namespace

int main(int argc, char** argv) {
    int files = 0;
    for (int i = 1; i < argc; ++i) {
        for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
            std::ifstream stream(entry.path(), std::ios::binary);
            vary({std::istreambuf_iterator<char>(stream), {}});
            ++files;
        }
    }
    std::cout << files << " files\n";
    return files > 0 ? 0 : 1;
}
