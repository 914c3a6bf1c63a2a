// SPDX-License-Identifier: Apache-2.0
// mistakes KIND: one heap error of each kind, for the reports in docs/verify.md.
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <thread>

namespace {

[[gnu::noinline]] char* make_name(std::size_t size) { return static_cast<char*>(std::malloc(size)); }
[[gnu::noinline]] void drop_name(char* name) { std::free(name); }

void double_free() {
    char* const name = make_name(32);
    std::thread([=] { drop_name(name); }).join();
    drop_name(name);
}
void invalid_free() {
    char* const name = make_name(32);
    drop_name(name + 8);
}
void size_mismatch() {
    void* const memory = ::operator new(48);
    ::operator delete(memory, 40);
}
void alloc_dealloc_mismatch() {
    int* const numbers = new int[10];
    std::free(numbers);
}
void heap_buffer_overflow() {
    char* const name = make_name(13);
    // One byte too long: the terminating zero.
    std::memcpy(name, "thirteen char", 14);
    drop_name(name);
}
void heap_buffer_underflow() {
    char* const name = make_name(16);
    name[-2] = '/';
    drop_name(name);
}
void heap_use_after_free() {
    char* const name = make_name(32);
    drop_name(name);
    std::memcpy(name + 4, "late", 4);
}
void read_after_free() {
    char* const name = make_name(32);
    drop_name(name);
    std::exit(name[0]);
}
void leak() {
    for (int i = 0; i < 3; ++i) std::strcpy(make_name(24), "nobody will free this");
}

}  // namespace

int main(int count, char** arguments) {
    const std::map<std::string, std::function<void()>> mistakes = {{"double-free", double_free},
                                                                   {"invalid-free", invalid_free},
                                                                   {"size-mismatch", size_mismatch},
                                                                   {"alloc-dealloc-mismatch", alloc_dealloc_mismatch},
                                                                   {"heap-buffer-overflow", heap_buffer_overflow},
                                                                   {"heap-buffer-underflow", heap_buffer_underflow},
                                                                   {"heap-use-after-free", heap_use_after_free},
                                                                   {"read-after-free", read_after_free},
                                                                   {"leak", leak}};
    const auto found = count == 2 ? mistakes.find(arguments[1]) : mistakes.end();
    if (found == mistakes.end()) return 2;
    found->second();
    return 0;
}
