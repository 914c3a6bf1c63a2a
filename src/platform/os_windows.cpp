// SPDX-License-Identifier: Apache-2.0
// What os.hpp wants of Windows beside memory, which is in memory_windows.cpp.
#include "platform/os_windows.hpp"

#include <cstdio>
#include <cstdlib>

namespace mpmm::os {
namespace windows {

constinit Functions functions;

}  // namespace windows

namespace {

using windows::functions, windows::KeepError;

template <class Function>
Function look_up(HMODULE module, const char* name) {
    return module == nullptr ? nullptr : reinterpret_cast<Function>(reinterpret_cast<void*>(::GetProcAddress(module, name)));
}

/// While the module is initialised, because the loader's lock is held then: later, under locks of ours, whoever holds it might wait for those.
const struct LookUp {
    LookUp() {
        const HMODULE base = ::GetModuleHandleW(L"kernelbase.dll");
        functions.allocate.store(look_up<windows::VirtualAlloc2>(base, "VirtualAlloc2"), relaxed);
        functions.discard.store(look_up<windows::DiscardVirtualMemory>(base, "DiscardVirtualMemory"), relaxed);
        functions.wake.store(look_up<windows::WakeByAddressSingle>(base, "WakeByAddressSingle"), relaxed);
        functions.memory_status.store(&::GlobalMemoryStatusEx, relaxed);
        const HMODULE native = ::GetModuleHandleW(L"ntdll.dll");
        functions.query_thread.store(look_up<windows::QueryThread>(native, "NtQueryInformationThread"), relaxed);
        functions.next_thread.store(look_up<windows::NextThread>(native, "NtGetNextThread"), relaxed);
        functions.query_memory.store(look_up<windows::QueryMemory>(native, "NtQueryVirtualMemory"), relaxed);
        functions.wait.store(look_up<windows::WaitOnAddress>(base, "WaitOnAddress"), release);
    }
} look_up_all;

// Descriptors are what handles are in their lower half, which is all of a handle that counts; 1 and 2 are the standard ones.
HANDLE handle_of(int descriptor) {
    if (descriptor == 1 || descriptor == 2) return ::GetStdHandle(descriptor == 1 ? STD_OUTPUT_HANDLE : STD_ERROR_HANDLE);
    return reinterpret_cast<HANDLE>(static_cast<std::intptr_t>(descriptor));
}
int descriptor_of(HANDLE handle) {
    return handle == nullptr || handle == INVALID_HANDLE_VALUE ? -1 : static_cast<int>(reinterpret_cast<std::intptr_t>(handle));
}

}  // namespace

std::uint64_t now_ms() { return ::GetTickCount64(); }

void nap() { ::Sleep(1); }

void wait(Atomic<std::uint32_t>& word, std::uint32_t expected) {
    const KeepError keep;
    // acquire: wake was stored before.
    if (const auto system_wait = functions.wait.load(acquire); system_wait != nullptr)
        system_wait(&word, &expected, sizeof expected, INFINITE);
    else ::Sleep(1);
}

void wake_one(Atomic<std::uint32_t>& word) {
    if (const auto system_wake = functions.wake.load(relaxed); system_wake != nullptr) system_wake(&word);
}

void write(int descriptor, const char* text, std::size_t size) {
    const KeepError keep;
    while (size != 0) {
        DWORD written = 0;
        if (::WriteFile(handle_of(descriptor), text, static_cast<DWORD>(size), &written, nullptr) == 0 || written == 0) return;
        text += written;
        size -= written;
    }
}

const char* environment(const char* name) {
    const KeepError keep;
    // As long as a value can be.
    static constinit char value[32768]{};
    const DWORD length = ::GetEnvironmentVariableA(name, value, sizeof value);
    return length != 0 && length < sizeof value ? value : nullptr;
}

bool has_environment() { return true; }

/// A process with more rights than who started it gets another environment from the system.
bool is_privileged() { return false; }

long process_id() { return static_cast<long>(::GetCurrentProcessId()); }

int thread_id() { return static_cast<int>(::GetCurrentThreadId()); }

void thread_name(int id, char* name, std::size_t size) {
    const KeepError keep;
    name[0] = 0;
    constexpr int name_information = 38;
    const auto query_thread = functions.query_thread.load(relaxed);
    const HANDLE thread = query_thread == nullptr ? nullptr : ::OpenThread(THREAD_QUERY_LIMITED_INFORMATION, FALSE, static_cast<DWORD>(id));
    if (thread == nullptr) return;
    struct {
        USHORT bytes, room;
        const wchar_t* text;
        wchar_t storage[64];
    } answer{};
    if (query_thread(thread, name_information, &answer, sizeof answer, nullptr) >= 0 && answer.text != nullptr) {
        const int length =
            ::WideCharToMultiByte(CP_UTF8, 0, answer.text, answer.bytes / 2, name, static_cast<int>(size) - 1, nullptr, nullptr);
        name[length] = 0;
    }
    ::CloseHandle(thread);
}

int open_log(const char* path) {
    const KeepError keep;
    return descriptor_of(::CreateFileA(path, FILE_APPEND_DATA, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr, OPEN_ALWAYS,
                                       FILE_ATTRIBUTE_NORMAL, nullptr));
}

int spare_error_output() {
    const KeepError keep;
    HANDLE spare = nullptr;
    const HANDLE self = ::GetCurrentProcess();
    return ::DuplicateHandle(self, handle_of(2), self, &spare, 0, FALSE, DUPLICATE_SAME_ACCESS) != 0 ? descriptor_of(spare) : -1;
}

bool is_open(int descriptor) {
    const KeepError keep;
    DWORD flags = 0;
    return ::GetHandleInformation(handle_of(descriptor), &flags) != 0;
}

void close(int descriptor) {
    const KeepError keep;
    ::CloseHandle(handle_of(descriptor));
}

void flush_output() { std::fflush(stdout); }

void exit_now(int status) {
    ::TerminateProcess(::GetCurrentProcess(), static_cast<UINT>(status));
    ::ExitProcess(static_cast<UINT>(status));
}

void abort() { std::abort(); }

}  // namespace mpmm::os
