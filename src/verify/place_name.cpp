// SPDX-License-Identifier: Apache-2.0
#include "verify/place_name.hpp"

#include "platform/modules.hpp"

#include <algorithm>
#include <cstring>

namespace mpmm::report {

void name_place(Line& line, const void* address, std::uintptr_t sp) {
    const auto where = reinterpret_cast<std::uintptr_t>(address);
    modules::Mappings mappings;
    modules::Mapping mapping;
    char module[256] = "";
    std::uintptr_t module_end = 0;
    bool has_code = false;
    for (bool more = mappings.open(); more && mappings.next(mapping);) {
        // A module's zeroed variables lie behind it, in a mapping without a name. Behind a file of data lies anything.
        const bool named = mapping.inode != 0 && *mapping.path != 0,
                   follows = *mapping.path == 0 && mapping.start == module_end && has_code;
        if (named) {
            const std::size_t length = std::min(std::strlen(mapping.path), sizeof module - 1);
            has_code = mapping.executable || (has_code && std::strncmp(module, mapping.path, length) == 0 && module[length] == 0);
            std::memcpy(module, mapping.path, length);
            module[length] = 0;
        }
        module_end = named || follows ? mapping.end : 0;
        if (where < mapping.start || where >= mapping.end) continue;
        if (sp >= mapping.start && sp < mapping.end) line.text("on the stack of this thread");
        else if (std::strncmp(mapping.path, "[stack", 6) == 0) line.text("on the stack of the main thread");
        else if (named || follows)
            line.text("in ").text(module).text(mapping.executable ? ", code"
                                               : mapping.writable ? ", a global variable"
                                                                  : ", constant data");
        else if (*mapping.path == 0) line.text("in memory that the program mapped");
        else line.text("in ").text(mapping.path);
        return;
    }
    line.text("not mapped");
}

}  // namespace mpmm::report
