// SPDX-License-Identifier: Apache-2.0
// The functions that a program on the drop-in library calls: malloc and its relatives, operator new and delete in all forms, in two real
// threads that take turns. Judged by what ISO C23, ISO C++20, POSIX and the GNU C library's manual say, and by a model of the live blocks.
#include "harness/model.hpp"
#include "harness/steps.hpp"
#include "malloc_abi/forms.hpp"
#include "malloc_abi/second_thread.hpp"
#include "mpmm/mpmm.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstddef>

using namespace mpmm::fuzz;
using namespace mpmm::fuzz::abi;

namespace {

constexpr int no_errno = 9999;
constexpr std::size_t most_bytes = std::size_t{48} << 20;

#ifdef MPMM_VERIFY_BUILD
constexpr bool verifies = true;
#else
constexpr bool verifies = false;
#endif

/// Reports of the verify build, while they are expected.
struct Reports {
    unsigned count = 0;
    std::string kind;
    const void* address = nullptr;
} reports;

int handler_calls = 0;

class Run {
  public:
    void malloc(const Step& step);
    void calloc(const Step& step);
    void realloc(const Step& step) { change(step, false); }
    void reallocarray(const Step& step) { change(step, true); }
    void aligned(const Step& step);
    void posix_memalign(const Step& step);
    void pages(const Step& step);
    void new_block(const Step& step);
    void new_without_memory(const Step& step);
    void free(const Step& step);
    void free_null(const Step& step);
    void free_wrongly(const Step& step);
    void look(const Step& step);
    void trim(const Step& step);
    void thread_ends(const Step& step);
    void check() {}
    void finish();

  private:
    struct Made {
        std::size_t size = 0, alignment = 1;
        Family family = Family::c;
    };

    /// Calls the function in the thread that the step chooses, with a known errno; errno_ is what it is then.
    template <class Function>
    void call(const Step& step, Function function) {
        const auto noted = [&] {
            errno = no_errno;
            function();
            errno_ = errno;
        };
        if (step.a % 2 == 0) noted();
        else second_.run(noted);
    }
    std::size_t size_of(const Step& step) const;
    static std::size_t alignment_of(const Step& step) { return std::size_t{1} << step.a / 8 % 23; }
    static bool impossible(std::size_t size) { return size > std::size_t{1} << 47; }
    void keeps_errno(const char* what) const { expect(errno_ == no_errno, what, " changed errno to ", errno_); }
    void refused(void* block, int code, const char* what) const {
        expect(block == nullptr && errno_ == code, what, " gave ", block, " with errno ", errno_, ", not ", code);
    }
    void obtained(void* block, const Made& made, const char* what, bool zeroed = false);
    Made taken(const Model::Block& block);
    void give(const Step& step, Family family, const Model::Block& block, const Made& made);
    void change(const Step& step, bool array);

    Model model_;
    std::map<const void*, Made> made_;
    SecondThread second_;
    int errno_ = 0;
};

std::size_t Run::size_of(const Step& step) const {
    const std::size_t c = step.c, beside = step.b % 32;
    std::size_t size = 0;
    switch (step.b / 32) {
        case 0: size = c; break;
        case 1: size = c * 16 + beside; break;
        case 2: size = c * 64 + beside; break;
        case 3: size = (c + 1) * 4096 + beside - 16; break;
        case 4: size = (std::size_t{1} << c % 24) + beside - 16; break;
        case 5: size = c * 65536 + beside; break;
        case 6: return c % 2 == 0 ? ~std::size_t{0} - c / 2 * beside : (std::size_t{1} << 63) + beside - 16 - c / 2 * 4096;
        default: size = beside; break;
    }
    return size <= most_bytes && model_.used_bytes() + size <= most_bytes ? size : size % 4096;
}

void Run::obtained(void* block, const Made& made, const char* what, bool zeroed) {
    if (impossible(made.size)) return refused(block, ENOMEM, what);
    expect(block != nullptr, what, " of ", made.size, " bytes gave nothing, errno ", errno_);
    keeps_errno(what);
    const auto address = reinterpret_cast<std::uintptr_t>(block);
    const std::size_t natural = made.size >= alignof(std::max_align_t) ? alignof(std::max_align_t) : std::bit_floor(made.size | 1);
    expect(address % std::max(natural, made.alignment) == 0, what, " of ", made.size, " bytes gave ", block, ", not aligned to ",
           std::max(natural, made.alignment));
    const std::size_t usable = abi_malloc_usable_size(block);
    expect(usable >= made.size, what, " of ", made.size, " bytes gave a block of ", usable);
    if (zeroed) Signature::check_zero(static_cast<std::byte*>(block), made.size);
    // All that is usable is the program's.
    model_.add(block, usable, usable);
    made_[block] = made;
}

auto Run::taken(const Model::Block& block) -> Made { return made_.extract(block.address).mapped(); }

void Run::malloc(const Step& step) {
    const std::size_t size = size_of(step);
    void* block = nullptr;
    call(step, [&] { block = abi_malloc(size); });
    obtained(block, {.size = size}, "malloc");
}

void Run::calloc(const Step& step) {
    std::size_t count = 1 + step.a / 2 % 16, size = size_of(step) / count;
    void* block = nullptr;
    if (step.a / 32 % 4 == 1) {
        // The product is a little more than all there is.
        size = size_of(step) | 2;
        count = ~std::size_t{0} / size + 1 + step.a / 2 % 16;
    }
    if (step.a >= 128) std::swap(count, size);
    call(step, [&] { block = abi_calloc(count, size); });
    if (std::size_t product = 0; __builtin_mul_overflow(count, size, &product)) refused(block, ENOMEM, "calloc");
    else obtained(block, {.size = product}, "calloc", true);
}

void Run::change(const Step& step, bool array) {
    const std::size_t count = array ? 1 + step.a / 16 : 1, wanted = size_of(step);
    const bool overflows = array && step.a / 2 % 8 == 7;
    const std::size_t each = overflows ? ~std::size_t{0} / count + 1 : wanted / count, size = each * count;
    if (overflows && count == 1) return;
    std::size_t slot = model_.size();
    for (std::size_t i = 0; i < model_.size() && slot == model_.size(); ++i)
        if (const std::size_t at = model_.slot(step.b + i); made_.at(model_[at].address).family <= Family::c_aligned) slot = at;
    void* block = nullptr;
    const auto change = [&](void* old) { block = array ? abi_reallocarray(old, count, each) : abi_realloc(old, size); };
    const char* const what = array ? "reallocarray" : "realloc";
    if (slot == model_.size() || step.a / 2 % 8 == 6) {
        call(step, [&] { change(nullptr); });
        return overflows ? refused(block, ENOMEM, what) : obtained(block, {.size = size}, what);
    }
    const Model::Block old = model_.take_out(slot);
    call(step, [&] { change(old.address); });
    if (overflows || impossible(size)) {
        refused(block, ENOMEM, what);
        Model::check(old, "after a failed realloc");
        return model_.put_in(old);
    }
    taken(old);
    if (size == 0) {
        // As the GNU C library has it: the block is freed.
        expect(block == nullptr, what, " to 0 bytes gave ", block);
        return keeps_errno(what);
    }
    Signature::check(static_cast<std::byte*>(block), old.size, size, old.seed, "after realloc");
    obtained(block, {.size = size}, what);
}

void Run::aligned(const Step& step) {
    const std::size_t size = size_of(step);
    std::size_t alignment = alignment_of(step);
    void* block = nullptr;
    const bool odd = step.a / 2 % 4 == 3;
    if (odd) alignment = step.b % 8 == 0 ? std::size_t{1} << (60 + step.c % 4) : step.b % 8 == 1 ? ~std::size_t{0} - step.c : alignment * 3;
    if (step.a / 2 % 2 == 0) {
        call(step, [&] { block = abi_aligned_alloc(alignment, size); });
        return obtained(block, {size, alignment, Family::c_aligned}, "aligned_alloc");
    }
    if (!odd) {
        if (step.c % 16 == 0) alignment = 0;
        call(step, [&] { block = abi_aligned_alloc(alignment == 0 ? 0 : alignment + 2 * (alignment > 1), size); });
        if (alignment == 0 || alignment > 2) return refused(block, EINVAL, "aligned_alloc to no power of two");
        return obtained(block, {size, alignment == 1 ? 1u : 4u, Family::c_aligned}, "aligned_alloc");
    }
    call(step, [&] { block = abi_memalign(alignment, size); });
    // Rounded up to a power of two, if there is one.
    if (alignment > std::size_t{1} << 63) return refused(block, EINVAL, "memalign");
    if (alignment >= std::size_t{1} << 47) return refused(block, ENOMEM, "memalign");
    obtained(block, {size, std::bit_ceil(alignment), Family::c}, "memalign");
}

void Run::posix_memalign(const Step& step) {
    const std::size_t size = size_of(step), alignment = alignment_of(step) * (step.a / 2 % 4 == 3 ? 3 : 1);
    void *const before = &model_, *block = before;
    int result = 0;
    call(step, [&] { result = abi_posix_memalign(&block, step.c == 77 ? 0 : alignment, size); });
    keeps_errno("posix_memalign");
    const bool good = step.c != 77 && std::has_single_bit(alignment) && alignment % sizeof(void*) == 0;
    const int wanted = !good ? EINVAL : impossible(size) ? ENOMEM : 0;
    expect(result == wanted, "posix_memalign of ", size, " bytes aligned to ", alignment, " returned ", result, ", not ", wanted);
    if (result != 0) return expect(block == before, "posix_memalign failed and changed the result");
    obtained(block, {size, alignment, Family::c}, "posix_memalign");
}

void Run::pages(const Step& step) {
    constexpr std::size_t page = 4096;
    const std::size_t size = size_of(step);
    void* block = nullptr;
    if (step.a / 2 % 2 == 0) {
        call(step, [&] { block = abi_valloc(size); });
        return obtained(block, {size, page, Family::c}, "valloc");
    }
    call(step, [&] { block = abi_pvalloc(size); });
    const std::size_t rounded = impossible(size) ? size : std::max<std::size_t>((size + page - 1) / page, 1) * page;
    obtained(block, {rounded, page, Family::c}, "pvalloc");
}

void Run::new_block(const Step& step) {
    const NewForm& form = new_forms[step.a / 2 % 8];
    const std::size_t size = size_of(step), alignment = std::size_t{1} << step.a / 16 % 14;
    if (impossible(size)) return new_without_memory(step);
    void* block = nullptr;
    call(step, [&] { block = form.take(size, abi::Align{alignment}); });
    obtained(block, {size, form.family >= Family::single_aligned ? alignment : 1, form.family}, "operator new");
}

void Run::new_without_memory(const Step& step) {
    const NewForm& form = new_forms[step.a / 2 % 8];
    const std::size_t size = (std::size_t{1} << 63) + step.c * std::size_t{4096};
    void* block = &model_;
    handler_calls = 0;
    bool threw = false;
    struct GivesUp : std::bad_alloc {};
    const unsigned handler = step.a / 16 % 3;
    std::set_new_handler(handler == 0   ? nullptr
                         : handler == 1 ? [] { if (++handler_calls == 3) std::set_new_handler(nullptr); }
                                        : [] { if (++handler_calls == 2) throw GivesUp(); });
    call(step, [&] {
        try {
            block = form.take(size, abi::Align{64});
        } catch (const GivesUp&) {
            threw = handler == 2;
        } catch (const std::bad_alloc&) {
            threw = handler != 2;
        }
    });
    std::set_new_handler(nullptr);
    static constexpr int calls[] = {0, 3, 2};
    expect(handler_calls == calls[handler], "the new-handler was called ", handler_calls, " times, not ", calls[handler]);
    expect(threw == form.throws, "operator new without memory ", threw ? "threw" : "did not throw as it must");
    if (!form.throws) expect(block == nullptr, "operator new without memory gave ", block);
}

void Run::give(const Step& step, Family family, const Model::Block& block, const Made& made) {
    const Give function = give_forms[static_cast<unsigned>(family)][step.a / 2 % 3];
    call(step, [&] { function(block.address, made.size, abi::Align{made.alignment}); });
    keeps_errno("free");
}

void Run::free(const Step& step) {
    if (model_.empty()) return;
    const Model::Block block = model_.remove(model_.slot(step.b + step.c * 256u));
    const Made made = taken(block);
    give(step, made.family, block, made);
}

void Run::free_null(const Step& step) {
    for (unsigned family = 0; family < family_count; ++family)
        give(step, static_cast<Family>(family), {}, {.size = step.c, .alignment = 64});
}

/// By a function of another family: verify says so, and frees.
void Run::free_wrongly(const Step& step) {
    if (model_.empty()) return;
    const Model::Block block = model_.remove(model_.slot(step.b));
    const Made made = taken(block);
    const auto family = static_cast<Family>((static_cast<unsigned>(made.family) + step.c) % family_count);
    const bool wrong = family != made.family && (family > Family::c_aligned || made.family > Family::c_aligned);
    reports = {};
    give(step, family, block, made);
    const unsigned wanted = verifies && wrong ? 1 : 0;
    expect(reports.count == wanted, reports.count, " reports of a block freed by the ", wrong ? "wrong" : "right", " function");
    if (wanted == 0) return;
    expect(reports.kind == "alloc-dealloc-mismatch" && reports.address == block.address, "report of ", reports.kind, " at ",
           reports.address, " for a block freed by the wrong function at ", block.address);
    reports = {};
}

void Run::look(const Step& step) {
    const struct mallinfo2 info = abi_mallinfo2();
    // What the other thread freed and has not published counts as used.
    expect(info.uordblks >= (verifies ? 0 : model_.used_bytes()), "mallinfo2: ", info.uordblks, " used bytes, but ", model_.used_bytes(),
           " are live");
    expect(abi_malloc_usable_size(nullptr) == 0, "NULL has a usable size");
    expect(abi_mallopt(static_cast<int>(step.b), static_cast<int>(step.c)) == 1, "mallopt failed");
    call(step, [&] { expect(abi_malloc_info(1 + static_cast<int>(step.b), nullptr) == -1, "malloc_info took options"); });
    expect(errno_ == EINVAL, "malloc_info set errno to ", errno_);
    if (step.a / 2 % 4 == 0) model_.check_all("when looked at");
}

void Run::trim(const Step& step) {
    int result = 0;
    call(step, [&] { result = abi_malloc_trim(step.b * std::size_t{65536}); });
    expect(result == 0 || result == 1, "malloc_trim returned ", result);
}

void Run::thread_ends(const Step&) { second_.end(); }

void Run::finish() {
    for (unsigned i = 0; !model_.empty(); ++i) free({i, i, 0});
    second_.end();
    mpmm_tcache_flush();
    abi_malloc_trim(0);
    const struct mallinfo2 info = abi_mallinfo2();
    expect(info.uordblks == 0, "everything was freed, but ", info.uordblks, " bytes are used");
    expect(mpmm_verify_heap() == 0, "the heap does not verify after everything was freed");
    expect(reports.count == 0, "a report of ", reports.kind);
}

constexpr StepKind<Run> kinds[] = {
    {"malloc", &Run::malloc},
    {"calloc", &Run::calloc},
    {"realloc", &Run::realloc},
    {"reallocarray", &Run::reallocarray},
    {"aligned", &Run::aligned},
    {"posix_memalign", &Run::posix_memalign},
    {"pages", &Run::pages},
    {"new", &Run::new_block},
    {"new_oom", &Run::new_without_memory},
    {"free", &Run::free},
    {"free", &Run::free},
    {"free", &Run::free},
    {"free_null", &Run::free_null},
    {"free_wrongly", &Run::free_wrongly},
    {"look", &Run::look},
    {"trim", &Run::trim},
    {"thread_ends", &Run::thread_ends},
};

void take_report(void*, const mpmm_debugger_error* error) {
    ++reports.count;
    reports.kind = error->kind;
    reports.address = error->address;
}

void prepare() {
    // Time must not matter, and names of frames take it.
    for (const auto& [key, value] : {std::pair{"purge", "0"}, {"halt_on_error", "0"}, {"symbolizer", "0"}, {"stack_depth", "0"}})
        expect(mpmm_set_option(key, value) == 0, "an option was refused");
    mpmm_debugger_callbacks callbacks{};
    callbacks.struct_size = sizeof callbacks;
    callbacks.error = &take_report;
    mpmm_debugger_set_callbacks(&callbacks);
}

}  // namespace

const Shape mpmm::fuzz::shape{split_records<0, step_size>, join_pieces};

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const bool prepared = (prepare(), true);
    return prepared ? judge([&] {
        Run run;
        run_steps(run, kinds, {data, size});
        run.finish();
    })
                    : 1;
}
