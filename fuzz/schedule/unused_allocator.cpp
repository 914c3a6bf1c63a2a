// SPDX-License-Identifier: Apache-2.0
#include "schedule/unused_allocator.hpp"

#include "harness/failure.hpp"
#include "harness/signature.hpp"

#include <algorithm>
#include <cstdint>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <span>
#include <string_view>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace mpmm::fuzz {

namespace {

/// Longer ones are verify's tables of stacks, thread numbers and texts of reports: the schedule harness takes no stacks, and after a report
/// there is no further run.
constexpr std::size_t longest = std::size_t{64} << 10;

/// Variables of mpmm, functions' static ones among them, and neither the harness's nor what ties the allocator to it.
bool is_of_the_allocator(std::string_view name) {
    const bool local = name.rfind("_ZZ", 0) == 0;
    const std::string_view rest = name.substr(std::min<std::size_t>(name.size(), local ? 3 : 2));
    const auto begins = [&](std::string_view with) { return rest.rfind(with, 0) == 0; };
    return name.rfind("_Z", 0) == 0 && begins("N4mpmm") && !begins("N4mpmm4fuzz") && !begins("N4mpmm8schedule");
}

/// With AddressSanitizer a symbol's size includes what lies behind the variable to be touched by nobody; volatile, or this is memcpy, which looks.
MPMM_FUZZ_PLAIN void copy_words(std::byte* to, const std::byte* from, std::size_t size) {
    std::size_t i = 0;
    for (; size - i >= sizeof(std::uint64_t); i += sizeof(std::uint64_t))
        *reinterpret_cast<volatile std::uint64_t*>(to + i) = *reinterpret_cast<const volatile std::uint64_t*>(from + i);
    for (; i < size; ++i) *static_cast<volatile std::byte*>(to + i) = *static_cast<const volatile std::byte*>(from + i);
}

/// The running program's file, mapped.
class Program {
  public:
    Program() {
        const int file = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
        struct stat status{};
        expect(file >= 0 && ::fstat(file, &status) == 0, "the program cannot read itself");
        size_ = static_cast<std::size_t>(status.st_size);
        void* const memory = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
        ::close(file);
        expect(memory != MAP_FAILED, "the program cannot map itself");
        bytes_ = static_cast<const std::byte*>(memory);
    }
    ~Program() { ::munmap(const_cast<std::byte*>(bytes_), size_); }
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;

    template <class T>
    std::span<const T> table(std::size_t offset, std::size_t bytes) const {
        return {reinterpret_cast<const T*>(bytes_ + offset), bytes / sizeof(T)};
    }
    std::span<const ElfW(Shdr)> sections() const {
        const auto& header = table<ElfW(Ehdr)>(0, sizeof(ElfW(Ehdr)))[0];
        return table<ElfW(Shdr)>(header.e_shoff, header.e_shnum * sizeof(ElfW(Shdr)));
    }

  private:
    const std::byte* bytes_ = nullptr;
    std::size_t size_ = 0;
};

/// Where the program lies, and which of its data the loader made read-only.
struct Loaded {
    std::uintptr_t base = 0, constant = 0, constant_end = 0;

    Loaded() {
        ::dl_iterate_phdr(
            [](dl_phdr_info* info, std::size_t, void* to) {
                auto& self = *static_cast<Loaded*>(to);
                self.base = info->dlpi_addr;
                for (const auto& segment : std::span(info->dlpi_phdr, info->dlpi_phnum))
                    if (segment.p_type == PT_GNU_RELRO) {
                        self.constant = self.base + segment.p_vaddr;
                        self.constant_end = self.constant + segment.p_memsz;
                    }
                return 1;
            },
            this);
    }
};

}  // namespace

UnusedAllocator::UnusedAllocator() {
    const Program program;
    const auto sections = program.sections();
    const Loaded loaded;
    for (const auto& section : sections) {
        if (section.sh_type != SHT_SYMTAB) continue;
        const auto* const names = program.table<char>(sections[section.sh_link].sh_offset, 1).data();
        for (const auto& symbol : program.table<ElfW(Sym)>(section.sh_offset, section.sh_size)) {
            if (symbol.st_info % 16 != STT_OBJECT || symbol.st_shndx == SHN_UNDEF || symbol.st_shndx >= sections.size()) continue;
            if ((sections[symbol.st_shndx].sh_flags & SHF_WRITE) == 0 || symbol.st_size > longest) continue;
            const std::uintptr_t address = loaded.base + symbol.st_value;
            const bool constant = address >= loaded.constant && address < loaded.constant_end;
            if (!constant && is_of_the_allocator(names + symbol.st_name))
                variables_.push_back({reinterpret_cast<std::byte*>(address), symbol.st_size, 0});
        }
    }
    expect(!variables_.empty(), "the program has no symbols");
    std::size_t size = 0;
    for (Variable& variable : variables_) variable.kept_at = std::exchange(size, size + variable.size);
    kept_.resize(size);
    for (const Variable& variable : variables_) copy_words(kept_.data() + variable.kept_at, variable.address, variable.size);
}

void UnusedAllocator::put_back() const {
    for (const auto& [address, size, kept_at] : variables_) copy_words(address, kept_.data() + kept_at, size);
}

}  // namespace mpmm::fuzz
