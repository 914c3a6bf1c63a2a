// SPDX-License-Identifier: Apache-2.0
// Reads the encodings of unwind tables within bounds: a read beyond the end yields 0, and from then on nothing is there any more, so that
// loops end by themselves and the caller asks ok() once.
#pragma once

#include <cstdint>
#include <cstring>

namespace mpmm::unwind {

class Cursor {
  public:
    Cursor(std::uintptr_t at, std::uintptr_t end) : at_(at), end_(end) {
        if (at > end) fail();
    }

    bool ok() const { return ok_; }
    bool more() const { return at_ < end_; }
    std::uintptr_t at() const { return at_; }
    std::uintptr_t end() const { return end_; }

    template <class T>
    T fixed() {
        T value{};
        if (end_ - at_ < sizeof(T)) fail();
        else {
            std::memcpy(&value, reinterpret_cast<const void*>(at_), sizeof(T));
            at_ += sizeof(T);
        }
        return value;
    }
    std::uint8_t byte() { return fixed<std::uint8_t>(); }

    std::uint64_t uleb() {
        std::uint64_t value = 0;
        for (unsigned shift = 0;; shift += 7) {
            const std::uint8_t next = byte();
            if (shift < 64) value |= std::uint64_t{next & 0x7Fu} << shift;
            if ((next & 0x80) == 0) return value;
        }
    }
    std::int64_t sleb() {
        std::uint64_t value = 0;
        for (unsigned shift = 0;;) {
            const std::uint8_t next = byte();
            if (shift < 64) value |= std::uint64_t{next & 0x7Fu} << shift;
            shift += 7;
            if ((next & 0x80) != 0) continue;
            if ((next & 0x40) != 0 && shift < 64) value |= ~std::uint64_t{0} << shift;
            return static_cast<std::int64_t>(value);
        }
    }

    /// The next `size` bytes as a cursor of their own.
    Cursor part(std::uint64_t size) {
        if (size > end_ - at_) fail();
        const Cursor inner(at_, ok_ ? at_ + static_cast<std::uintptr_t>(size) : at_);
        at_ = inner.end_;
        return inner;
    }

    /// A pointer in one of the DW_EH_PE encodings. Indirect ones, and bases other than the field itself and `data_base` (0: none), fail:
    /// no compiler uses them for the pointers that are read here.
    std::uint64_t pointer(std::uint8_t encoding, std::uintptr_t data_base) {
        const std::uintptr_t field = at_;
        const std::uint64_t value = plain(encoding);
        switch (encoding & 0xF0) {
            case 0x00: return value;
            case 0x10: return value + field;
            case 0x30:
                if (data_base != 0) return value + data_base;
                [[fallthrough]];
            default: fail(); return 0;
        }
    }
    /// The value of an encoded pointer before anything is added to it.
    std::uint64_t plain(std::uint8_t encoding) {
        switch (encoding & 0x0F) {
            case 0x00: return fixed<std::uintptr_t>();
            case 0x01: return uleb();
            case 0x04:
            case 0x0C: return fixed<std::uint64_t>();
            case 0x02: return fixed<std::uint16_t>();
            case 0x03: return fixed<std::uint32_t>();
            case 0x09: return static_cast<std::uint64_t>(sleb());
            case 0x0A: return static_cast<std::uint64_t>(std::int64_t{fixed<std::int16_t>()});
            case 0x0B: return static_cast<std::uint64_t>(std::int64_t{fixed<std::int32_t>()});
            default: fail(); return 0;
        }
    }

    void fail() {
        at_ = end_;
        ok_ = false;
    }

  private:
    std::uintptr_t at_, end_;
    bool ok_ = true;
};

}  // namespace mpmm::unwind
