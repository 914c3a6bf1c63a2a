// SPDX-License-Identifier: Apache-2.0
//
// Input for a compiler: little text that makes it read many headers and instantiate many templates.
#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <ranges>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

template <int N> struct Tag {
    int value = N;
    auto operator<=>(const Tag&) const = default;
};

template <int N> std::string describe(const std::vector<int>& numbers) {
    using Value = std::variant<Tag<N>, std::string, std::optional<std::tuple<int, Tag<N>>>>;
    std::map<Tag<N>, std::vector<Value>> groups;
    std::unordered_map<std::string, std::set<Tag<N>>> names;
    std::vector<std::function<int(int)>> steps;
    for (int number : numbers | std::views::filter([](int n) { return n % (N + 2) != 0; }) |
                          std::views::transform([](int n) { return n * N; })) {
        groups[Tag<N>{number}].emplace_back(std::to_string(number));
        groups[Tag<N>{number / 2}].emplace_back(std::make_optional(std::make_tuple(number, Tag<N>{})));
        names[std::to_string(number % 10)].insert(Tag<N>{number});
        steps.emplace_back([number](int value) { return value + number; });
    }
    std::ostringstream out;
    for (const auto& [tag, values] : groups) {
        for (const auto& value : values) {
            std::visit(
                [&out]<typename Held>(const Held& held) {
                    if constexpr (std::is_same_v<Held, std::string>) {
                        out << held;
                    } else if constexpr (std::is_same_v<Held, Tag<N>>) {
                        out << held.value;
                    } else {
                        out << std::get<0>(*held);
                    }
                },
                value);
        }
    }
    out << std::accumulate(steps.begin(), steps.end(), 0, [](int sum, const auto& step) { return step(sum); }) << names.size();
    return std::regex_replace(out.str(), std::regex("([0-9])([0-9]*)"), "$2$1");
}

template <int... Ns> void print_all(std::integer_sequence<int, Ns...>) {
    const std::vector<int> numbers{1, 2, 3, 5, 8, 13, 21};
    ((std::cout << describe<Ns>(numbers) << '\n'), ...);
}

int main() {
    print_all(std::make_integer_sequence<int, 3>{});
}
