-- SPDX-License-Identifier: Apache-2.0
-- Tables, closures and strings come and go; the collector frees them in its own order.
local seed = 12345
local function random(bound)
    seed = (seed * 1103515245 + 12345) % 2147483648
    return seed // 65536 % bound
end

local function leaf(depth)
    if depth == 0 then
        return { name = "leaf" .. random(1000), size = random(100) }
    end
    local node = { depth = depth, children = {} }
    for index = 1, 4 do
        node.children[index] = leaf(depth - 1)
    end
    node.weigh = function(self)
        local total = depth
        for _, child in ipairs(self.children) do
            total = total + (child.size or child:weigh())
        end
        return total
    end
    return node
end

local total = 0
local words = {}
for round = 1, 25 do
    total = total + leaf(7):weigh()
    for index = 1, 20000 do
        local word = string.format("%d-%s", round * index, string.rep("ab", random(20)))
        words[random(30000)] = word:upper() .. index
    end
end
local length, count = 0, 0
for _, word in pairs(words) do
    length, count = length + #word, count + 1
end
print(total, count, length, #table.concat({ total, count, length }, ";"))
