// SPDX-License-Identifier: Apache-2.0
// Exercises every form of operator new and delete, and what happens when there is no memory.
#include "malloc/child_check.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <dlfcn.h>
#include <new>
#include <stdexcept>
#include <string>
#include <sys/mman.h>
#include <sys/resource.h>
#include <vector>

namespace {

volatile std::size_t impossible = std::size_t{PTRDIFF_MAX} + 1;  // not a constant, which the compiler would refuse

void check_where_it_comes_from(const char* library) {
    for (const char* const name : {"_Znwm",
                                   "_Znam",
                                   "_ZnwmRKSt9nothrow_t",
                                   "_ZnamRKSt9nothrow_t",
                                   "_ZnwmSt11align_val_t",
                                   "_ZnamSt11align_val_t",
                                   "_ZnwmSt11align_val_tRKSt9nothrow_t",
                                   "_ZnamSt11align_val_tRKSt9nothrow_t",
                                   "_ZdlPv",
                                   "_ZdaPv",
                                   "_ZdlPvm",
                                   "_ZdaPvm",
                                   "_ZdlPvRKSt9nothrow_t",
                                   "_ZdaPvRKSt9nothrow_t",
                                   "_ZdlPvSt11align_val_t",
                                   "_ZdaPvSt11align_val_t",
                                   "_ZdlPvmSt11align_val_t",
                                   "_ZdaPvmSt11align_val_t",
                                   "_ZdlPvSt11align_val_tRKSt9nothrow_t",
                                   "_ZdaPvSt11align_val_tRKSt9nothrow_t"}) {
        // Where size_t is an unsigned int its letter is another one, and no other m is in these names.
        std::string here = name;
        if (sizeof(std::size_t) == 4) std::replace(here.begin(), here.end(), 'm', 'j');
        Dl_info info{};
        CHECK(::dladdr(::dlsym(RTLD_DEFAULT, here.c_str()), &info) != 0);
        if (info.dli_fname == nullptr || std::strstr(info.dli_fname, library) == nullptr) {
            std::fprintf(stderr, "%s comes from %s\n", name, info.dli_fname == nullptr ? "nowhere" : info.dli_fname);
            ++failed_checks;
        }
    }
}

/// Each allocation form as a function of size and alignment, with the frees that may follow it.
struct Form {
    const char* name;
    bool throws, aligned;
    void* (*allocate)(std::size_t, std::align_val_t);
    void (*free[3])(void*, std::size_t, std::align_val_t);
};

const Form forms[] = {
    {"new",
     true,
     false,
     [](std::size_t n, std::align_val_t) { return ::operator new(n); },
     {[](void* p, std::size_t, std::align_val_t) { ::operator delete(p); },
      [](void* p, std::size_t n, std::align_val_t) { ::operator delete(p, n); },
      [](void* p, std::size_t, std::align_val_t) { ::operator delete(p, std::nothrow); }}},
    {"new[]",
     true,
     false,
     [](std::size_t n, std::align_val_t) { return ::operator new[](n); },
     {[](void* p, std::size_t, std::align_val_t) { ::operator delete[](p); },
      [](void* p, std::size_t n, std::align_val_t) { ::operator delete[](p, n); },
      [](void* p, std::size_t, std::align_val_t) { ::operator delete[](p, std::nothrow); }}},
    {"new nothrow",
     false,
     false,
     [](std::size_t n, std::align_val_t) { return ::operator new(n, std::nothrow); },
     {[](void* p, std::size_t, std::align_val_t) { ::operator delete(p); },
      [](void* p, std::size_t n, std::align_val_t) { ::operator delete(p, n); },
      [](void* p, std::size_t, std::align_val_t) { ::operator delete(p, std::nothrow); }}},
    {"new[] nothrow",
     false,
     false,
     [](std::size_t n, std::align_val_t) { return ::operator new[](n, std::nothrow); },
     {[](void* p, std::size_t, std::align_val_t) { ::operator delete[](p); },
      [](void* p, std::size_t n, std::align_val_t) { ::operator delete[](p, n); },
      [](void* p, std::size_t, std::align_val_t) { ::operator delete[](p, std::nothrow); }}},
    {"new aligned",
     true,
     true,
     [](std::size_t n, std::align_val_t a) { return ::operator new(n, a); },
     {[](void* p, std::size_t, std::align_val_t a) { ::operator delete(p, a); },
      [](void* p, std::size_t n, std::align_val_t a) { ::operator delete(p, n, a); },
      [](void* p, std::size_t, std::align_val_t a) { ::operator delete(p, a, std::nothrow); }}},
    {"new[] aligned",
     true,
     true,
     [](std::size_t n, std::align_val_t a) { return ::operator new[](n, a); },
     {[](void* p, std::size_t, std::align_val_t a) { ::operator delete[](p, a); },
      [](void* p, std::size_t n, std::align_val_t a) { ::operator delete[](p, n, a); },
      [](void* p, std::size_t, std::align_val_t a) { ::operator delete[](p, a, std::nothrow); }}},
    {"new aligned nothrow",
     false,
     true,
     [](std::size_t n, std::align_val_t a) { return ::operator new(n, a, std::nothrow); },
     {[](void* p, std::size_t, std::align_val_t a) { ::operator delete(p, a); },
      [](void* p, std::size_t n, std::align_val_t a) { ::operator delete(p, n, a); },
      [](void* p, std::size_t, std::align_val_t a) { ::operator delete(p, a, std::nothrow); }}},
    {"new[] aligned nothrow",
     false,
     true,
     [](std::size_t n, std::align_val_t a) { return ::operator new[](n, a, std::nothrow); },
     {[](void* p, std::size_t, std::align_val_t a) { ::operator delete[](p, a); },
      [](void* p, std::size_t n, std::align_val_t a) { ::operator delete[](p, n, a); },
      [](void* p, std::size_t, std::align_val_t a) { ::operator delete[](p, a, std::nothrow); }}},
};

void check_forms() {
    for (const Form& form : forms)
        for (const std::size_t alignment : {std::size_t{16}, std::size_t{64}, std::size_t{4096}, std::size_t{1} << 22})
            for (const std::size_t size : {0ul, 1ul, 24ul, 1000ul, 60000ul, 5000000ul})
                for (const auto free : form.free) {
                    void* const block = form.allocate(size, std::align_val_t{alignment});
                    CHECK(block != nullptr);
                    CHECK(reinterpret_cast<std::uintptr_t>(block) % (form.aligned ? alignment : size >= 16 ? 16 : 8) == 0);
                    std::memset(block, 1, size);
                    ESCAPE(block);
                    free(block, size, std::align_val_t{alignment});
                    free(nullptr, size, std::align_val_t{alignment});
                }
}

/// Nobody pays for zeroes: a block that comes back holds what it held, or what verify paints fresh ones with.
void check_that_nothing_is_zeroed() {
    constexpr std::size_t size = 256;
    for (const Form& form : forms) {
        constexpr std::align_val_t alignment{64};
        void* const first = form.allocate(size, alignment);
        std::memset(first, 0xff, size);
        ESCAPE(first);
        form.free[0](first, size, alignment);
        auto* const second = static_cast<volatile unsigned char*>(form.allocate(size, alignment));
        std::size_t zeroes = 0;
        for (std::size_t i = 0; i < size; ++i) zeroes += second[i] == 0;
        CHECK(zeroes < size);
        form.free[0](const_cast<unsigned char*>(second), size, alignment);
    }
}

/// True when the form reported that there is no memory, the way it must.
bool fails_properly(const Form& form) {
    try {
        return form.allocate(impossible, std::align_val_t{64}) == nullptr && !form.throws;
    } catch (const std::bad_alloc&) {
        return form.throws;
    }
}

int handler_calls = 0;

void check_out_of_memory() {
    for (const Form& form : forms) {
        // While there is memory nobody asks the handler.
        handler_calls = 0;
        std::set_new_handler([] { ++handler_calls; });
        form.free[0](form.allocate(100, std::align_val_t{64}), 100, std::align_val_t{64});
        CHECK(handler_calls == 0);
        std::set_new_handler(nullptr);
        CHECK(fails_properly(form));
        // The handler is called again and again, until it gives up.
        handler_calls = 0;
        std::set_new_handler([] {
            if (++handler_calls == 5) std::set_new_handler(nullptr);
        });
        CHECK(fails_properly(form));
        CHECK(handler_calls == 5);
        // A handler may throw bad_alloc, or what is derived from it; nothrow forms turn it into a null pointer.
        std::set_new_handler([] { throw std::bad_alloc(); });
        CHECK(fails_properly(form));
        std::set_new_handler(nullptr);
    }
    // What else a handler throws comes through the throwing forms.
    std::set_new_handler([] { throw std::runtime_error("from the handler"); });
    std::string seen;
    try {
        static_cast<void>(::operator new(impossible));
    } catch (const std::runtime_error& error) {
        seen = error.what();
    }
    CHECK(seen == "from the handler");
    std::set_new_handler(nullptr);
    // The library's own containers.
    bool caught = false;
    try {
        std::vector<char> vector;
        vector.resize(PTRDIFF_MAX);
    } catch (const std::bad_alloc&) {
        caught = true;
    }
    CHECK(caught);
}

/// A handler that makes room: under a limit of address space the request fails, the handler lifts the limit, and new succeeds.
void check_handler_that_helps() {
    static rlimit old_limit;
    if (::getrlimit(RLIMIT_AS, &old_limit) != 0) return;
    rlimit low = old_limit;
    low.rlim_cur = std::size_t{1} << (sizeof(void*) == 8 ? 32 : 30);
    CHECK(::setrlimit(RLIMIT_AS, &low) == 0);
    // qemu-user takes the limit, and does nothing.
    if (void* const probe = ::mmap(nullptr, low.rlim_cur, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); probe != MAP_FAILED) {
        ::munmap(probe, low.rlim_cur);
        return;
    }
    handler_calls = 0;
    std::set_new_handler([] {
        ++handler_calls;
        ::setrlimit(RLIMIT_AS, &old_limit);
    });
    void* const block = ::operator new(std::size_t{5} << (sizeof(void*) == 8 ? 30 : 28));
    CHECK(block != nullptr);
    CHECK(handler_calls == 1);
    ::operator delete(block);
    std::set_new_handler(nullptr);
}

struct alignas(128) Wide {
    char bytes[200];
};

void check_expressions() {
    auto* const one = new Wide;
    auto* const many = new Wide[7];
    CHECK(reinterpret_cast<std::uintptr_t>(one) % 128 == 0 && reinterpret_cast<std::uintptr_t>(many) % 128 == 0);
    ESCAPE(one);
    delete one;
    delete[] many;
    auto* const strings = new std::string[50];
    for (int i = 0; i < 50; ++i) strings[i] = std::string(static_cast<std::size_t>(i) * 20, 'x');
    CHECK(strings[49].size() == 980);
    delete[] strings;
}

}  // namespace

void check_cxx_operators(const char* library) {
    check_where_it_comes_from(library);
    if (failed_checks != 0) return;
    check_forms();
    check_that_nothing_is_zeroed();
    check_out_of_memory();
    check_handler_that_helps();
    check_expressions();
}
