// SPDX-License-Identifier: Apache-2.0
//
// Binary trees of nodes from new are built, walked and destroyed: one big tree lives on while many short-lived ones come and
// go around it.
#include "workload.hpp"

namespace {

struct Node {
    Node* left = nullptr;
    Node* right = nullptr;
    std::uint64_t value = 0;
};

Node* build(unsigned depth, std::uint64_t value) {
    auto* node = new Node{nullptr, nullptr, value};
    if (depth != 0) {
        node->left = build(depth - 1, 2 * value);
        node->right = build(depth - 1, 2 * value + 1);
    }
    return node;
}

std::uint64_t sum(const Node* node) { return node == nullptr ? 0 : node->value + 3 * sum(node->left) + 5 * sum(node->right); }

void destroy(Node* node) {
    if (node == nullptr) return;
    destroy(node->left);
    destroy(node->right);
    delete node;
}

}  // namespace

int main(int argc, char** argv) {
    const std::size_t rounds = workload::scaled(workload::scale_of(argc, argv), 12);
    constexpr unsigned deepest = 18;

    std::uint64_t checksum = 0;
    Node* lasting = build(deepest, 1);
    for (std::size_t round = 0; round < rounds; ++round) {
        for (unsigned depth = 4; depth <= deepest; depth += 2) {
            for (std::size_t trees = std::size_t{1} << (deepest - depth); trees != 0; --trees) {
                Node* tree = build(depth, round + trees);
                checksum += sum(tree);
                destroy(tree);
            }
        }
    }
    checksum += sum(lasting);
    destroy(lasting);
    return workload::finish(checksum);
}
