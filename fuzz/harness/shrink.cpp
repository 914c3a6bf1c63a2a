// SPDX-License-Identifier: Apache-2.0
#include "harness/shrink.hpp"

#include <algorithm>

namespace mpmm::fuzz {

namespace {

class Shrinker {
  public:
    Shrinker(const Shape& of_input, Bytes input, const Fails& fails, unsigned runs)
        : shape_(of_input), best_(of_input.split(input)), fails_(fails), left_(runs) {}

    Bytes run() {
        bool smaller = true;
        while (smaller && left_ != 0) {
            smaller = drop_items();
            smaller |= lower_numbers();
        }
        return shape_.join(best_);
    }

  private:
    /// Keeps what fails.
    bool take(Pieces candidate) {
        if (left_ == 0) return false;
        --left_;
        if (!fails_(shape_.join(candidate))) return false;
        best_ = std::move(candidate);
        return true;
    }
    /// Half of the items at once, then a quarter, down to single ones; from behind, where less depends on them.
    bool drop_items() {
        bool any = false;
        for (std::size_t group = best_.groups.size(); group-- != 0;)
            for (std::size_t length = (best_.groups[group].size() + 1) / 2; length != 0; length /= 2)
                for (std::size_t end = best_.groups[group].size(); end != 0;) {
                    const std::size_t first = end - std::min(length, end);
                    Pieces candidate = best_;
                    auto& items = candidate.groups[group];
                    items.erase(items.begin() + static_cast<long>(first), items.begin() + static_cast<long>(end));
                    any |= take(std::move(candidate));
                    end = first;
                }
        return any;
    }
    bool lower_numbers() {
        bool any = lower_bytes([](Pieces& pieces) -> Bytes& { return pieces.header; });
        for (std::size_t group = 0; group < best_.groups.size(); ++group)
            for (std::size_t i = 0; i < best_.groups[group].size(); ++i)
                any |= lower_bytes([=](Pieces& pieces) -> Bytes& { return pieces.groups[group][i]; });
        return any;
    }
    /// Numbers of two bytes, the lower one first, and then each byte: to 0, or down by ever smaller steps.
    template <class Part>
    bool lower_bytes(Part part) {
        bool any = false;
        for (std::size_t i = 0; i + 1 < part(best_).size(); i += 2) any |= lower_number(part, i, 2);
        for (std::size_t i = 0; i < part(best_).size(); ++i) any |= lower_number(part, i, 1);
        return any;
    }
    template <class Part>
    bool lower_number(Part part, std::size_t at, std::size_t length) {
        bool any = false;
        unsigned value = 0;
        for (std::size_t i = length; i-- != 0;) value = value << 8 | part(best_)[at + i];
        for (unsigned step = value; step != 0;) {
            Pieces candidate = best_;
            const unsigned lower = value - step;
            for (std::size_t i = 0; i < length; ++i) part(candidate)[at + i] = static_cast<std::uint8_t>(lower >> 8 * i);
            if (take(std::move(candidate))) {
                any = true;
                value = lower;
                step = std::min(step, value);
            } else step /= 2;
        }
        return any;
    }

    const Shape& shape_;
    Pieces best_;
    const Fails& fails_;
    unsigned left_;
};

}  // namespace

Bytes shrink(const Shape& of_input, Bytes input, const Fails& fails, unsigned runs) {
    return Shrinker(of_input, std::move(input), fails, runs).run();
}

}  // namespace mpmm::fuzz
