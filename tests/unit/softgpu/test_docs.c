/* docs/softgpu.md: what the software device has, made of the lists that the device is made of. `test_docs --print` writes
 * it (make docs/softgpu.md); the test compares, and tries what the page says is missing. */
#include "driver.h"
#include "runtime/base/file.h"
#include "runtime/base/str.h"
#include "runtime/softgpu/ptx/names.h"

enum { WIDTH = 108 };

/* Adds a word to a paragraph of lines of WIDTH. */
struct lines {
    struct str *out;
    size_t at; /* bytes of the line so far */
};

static void add_word(struct lines *l, const char *word) {
    const size_t length = strlen(word) + 2; /* in quotes */
    if (l->at + length + 2 > WIDTH) {
        str_append(l->out, ",\n");
        l->at = 0;
    } else if (l->at) {
        str_append(l->out, ", ");
        l->at += 2;
    }
    str_printf(l->out, "`%s`", word);
    l->at += length;
}

static void add_end(struct lines *l) {
    str_append(l->out, l->at ? ".\n" : "");
    l->at = 0;
}

/* ---- the driver API ---- */

static void write_functions(struct str *out) {
    struct lines l = {.out = out};
    const char *last = "";
    str_append(out, "\n## Functions of the driver API\n\n"
                    "By name or by `cuGetProcAddress()`.\n\n");
    for (size_t k = 0; cu_function_named(k); last = cu_function_named(k++))
        if (strcmp(cu_function_named(k), last) != 0)
            add_word(&l, cu_function_named(k));
    add_end(&l);
}

/* ---- PTX ---- */

static const char *const group_titles[] = {
    [GROUP_NUMBER] = "numbers",
    [GROUP_INT] = "integers",
    [GROUP_CARRY] = "sums with carry",
    [GROUP_BITS] = "bits",
    [GROUP_FLOAT] = "floats",
    [GROUP_APPROX] = "approximations",
    [GROUP_COMPARE] = "comparisons and choices",
    [GROUP_CVT] = "conversions",
    [GROUP_VIDEO] = "video",
    [GROUP_MMA] = "tensor cores of a warp",
    [GROUP_MATRIX] = "matrices in shared memory",
    [GROUP_MOVE] = "moves, special registers",
    [GROUP_ACCESS] = "loads and stores",
    [GROUP_ATOMIC] = "atomics",
    [GROUP_COPY] = "asynchronous copies, bulk copies and reductions",
    [GROUP_MBARRIER] = "mbarriers",
    [GROUP_FENCE] = "fences",
    [GROUP_ADDRESS] = "addresses",
    [GROUP_HINT] = "cache hints",
    [GROUP_POLICY] = "cache policies",
    [GROUP_BARRIER] = "barriers",
    [GROUP_WARP] = "lanes of a warp",
    [GROUP_FLOW] = "control flow",
    [GROUP_PAUSE] = "pauses",
    [GROUP_WGMMA] = "tensor cores of a warp group",
    [GROUP_REGISTERS] = "registers of a warp",
};
_Static_assert(sizeof group_titles / sizeof *group_titles == GROUP_NOBODY, "each group has a title");

static void write_instructions(struct str *out) {
    str_append(out, "\n## Instructions of PTX\n\n| | |\n| --- | --- |\n");
    for (int group = 0; group < GROUP_NOBODY; group++) {
        const char *between = "";
        str_printf(out, "| %s | ", group_titles[group]);
        for (int op = 0; op < OP_COUNT; op++)
            if ((int)ptx_op_facts[op].group == group) {
                str_printf(out, "%s`%s`", between, ptx_op_facts[op].name);
                between = " ";
            }
        str_append(out, " |\n");
    }
}

static void write_types(struct str *out) {
    struct lines l = {.out = out};
    str_append(out, "\nTypes:\n\n");
    for (int type = T_PRED; type < T_COUNT; type++)
        add_word(&l, type_name((enum ptx_type)type));
    add_end(&l);
}

static void write_specials(struct str *out) {
    struct lines l = {.out = out};
    str_append(out, "\nSpecial registers:\n\n");
#define ADD_SPECIAL(name, word) add_word(&l, word);
    PTX_SPECIALS(ADD_SPECIAL)
    add_end(&l);
}

/* ---- what is missing ---- */

/* Valid PTX that this device does not execute, as a user would look for it. */
static const struct {
    const char *what, *code;
} missing[] = {
    {"`wmma` (`mma.sync` and `ldmatrix` are there)",
     "wmma.mma.sync.aligned.row.col.m16n16k16.f32.f32 {%r1, %r2, %r3, %r4, "
     "%r5, %r6, %r7, %r8}, {%r1, %r2, %r3, %r4, %r5, %r6, %r7, %r8}, {%r1, "
     "%r2, %r3, %r4, %r5, %r6, %r7, %r8}, {%r1, %r2, %r3, %r4, %r5, %r6, "
     "%r7, %r8};"},
    {"sparse matrices: `mma.sp`, `wgmma.mma_async.sp`",
     "wgmma.mma_async.sp.sync.aligned.m64n8k64.s32.s8.s8 {%r1, %r2, %r3, %r4}, %rd1, %rd2, %r5, 0, %p1;"},
    {"`wgmma` of single bits",
     "wgmma.mma_async.sync.aligned.m64n8k256.s32.b1.b1.and.popc {%r1, %r2, %r3, %r4}, %rd1, %rd2, "
     "%p1;"},
    {"`ldmatrix` and `stmatrix` of 8-bit and smaller elements",
     "ldmatrix.sync.aligned.m16n16.x1.trans.shared.b8 {%r1, %r2}, [%r3];"},
    {"textures and surfaces", "tex.1d.v4.f32.s32 {%r1, %r2, %r3, %r4}, [%rd1, {%r5}];"},
    {"`multimem`", "multimem.ld_reduce.relaxed.sys.global.add.u32 %r1, [%rd1];"},
    {"`alloca`, `stacksave`, `stackrestore`", "alloca.u64 %rd1, 16;"},
    {"tensor copies by `.im2col`, `.tile::gather4` and the like",
     "cp.async.bulk.tensor.3d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes [%r1], [%rd1, {%r2, %r3, "
     "%r4}], "
     "[%r5], {%h1};"},
    {"`tensormap.replace` and other changes of a tensor map",
     "tensormap.replace.tile.rank.global.b1024.b32 [%rd1], 4;"},
    {"`st.async` and `red.async`", "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.u32 [%r1], %r2, [%r3];"},
    {"`cvt.pack`", "cvt.pack.sat.u8.s32.b32 %r1, %r2, %r3, %r4;"},
    {"the fifth generation of tensor cores, `tcgen05`", "tcgen05.wait::ld.sync.aligned;"},
};

static void write_missing(struct str *out) {
    str_append(
        out,
        "\nNot there, among others: the runtime API (`cudaMalloc` …; programs must call the driver themselves), and\n"
        "of PTX\n\n");
    for (size_t k = 0; k < sizeof missing / sizeof *missing; k++)
        str_printf(out, "- %s\n", missing[k].what);
}

/* ---- the checks ---- */

static void write_checks(struct str *out) {
    str_append(
        out,
        "\n## Strict checks\n\n"
        "A check that finds something stops the kernel with one sentence, which ends with the check's name in\n"
        "brackets. `SOFTGPU_CHECK` takes a list of names in order, beginning with all of them: `-race` leaves one\n"
        "out, `none,race` makes no other. Accesses out of bounds, misaligned ones, divergent barriers and deadlocks\n"
        "stop a kernel in any case.\n\n| check | what it reports |\n| --- | --- |\n");
    for (int k = 0; k < SG_CHECK_COUNT; k++)
        str_printf(out, "| `%s` | %s |\n", sg_check_facts[k].word, sg_check_facts[k].what);
}

static void write_page(struct str *out) {
    str_append(out,
               "# What the software device has\n\n"
               "<!-- made by `make docs/softgpu.md` from the lists that the device is made of -->\n\n"
               "`libsoftgpu.so` stands in for `libcuda.so.1`: a program that uses these functions runs on it if its "
               "modules\nhave PTX, and kernels run as far as they execute these instructions. Machine code alone "
               "cannot run: compile\nwith PTX (`-gencode arch=compute_90,code=compute_90`).\n");
    write_functions(out);
    write_instructions(out);
    write_types(out);
    write_specials(out);
    write_missing(out);
    write_checks(out);
}

/* ---- tests ---- */

static void test_page(void **state) {
    (void)state;
    struct str page = {0}, text = {0};
    write_page(&page);
    assert_int_equal(file_read(MT_SOURCE_DIR "/docs/softgpu.md", &text), MT_OK);
    if (strcmp(page.data, text.data) != 0)
        fail_msg("docs/softgpu.md is not what the device has: make docs/softgpu.md");
    str_release(&page);
    str_release(&text);
}

/* The device does not execute it, whether it takes the module or not. */
static bool is_missing(const char *code) {
    struct str ptx = {0};
    char error[512] = "";
    str_printf(
        &ptx,
        ".version 8.6\n.target sm_90a\n.address_size 64\n.visible .entry k()\n{\n.reg .pred %%p<4>; .reg .b16 %%h<4>; "
        ".reg .b32 %%r<12>; .reg .b64 %%rd<4>;\n%s\nret; }\n",
        code);
    struct sg_module *m = sg_module_parse(ptx.data, ptx.length, error, sizeof error);
    bool missing_here = m == NULL;
    if (m) {
        struct sg_memory memory = {0};
        struct sg_fault fault = {0};
        const struct sg_launch launch = {.function = sg_module_function(m, "k"),
                                         .grid = {1, 1, 1},
                                         .block = {128, 1, 1},
                                         .cluster = {1, 1, 1},
                                         .memory = &memory,
                                         .host_threads = 1,
                                         .resident_ctas = 1,
                                         .sm_count = 1};
        missing_here =
            !sg_run(&launch, NULL, &fault) && (fault.kind == SG_FAULT_UNSUPPORTED || fault.kind == SG_FAULT_LACKING);
    }
    sg_module_free(m);
    str_release(&ptx);
    return missing_here;
}

static void test_missing(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof missing / sizeof *missing; k++)
        if (!is_missing(missing[k].code))
            fail_msg("docs/softgpu.md says that %s is missing, and it is there", missing[k].what);
    assert_false(is_missing("add.u32 %r1, %r2, %r3;"));
    for (int op = 0; op < OP_COUNT; op++) /* what nobody executes is said to be missing */
        if (ptx_op_facts[op].group == GROUP_NOBODY && op != OP_istypep && op != OP_unknown) {
            bool said = false;
            for (size_t k = 0; k < sizeof missing / sizeof *missing; k++)
                said |= strstr(missing[k].what, ptx_op_facts[op].name) != NULL;
            if (!said)
                fail_msg("%s is missing, and docs/softgpu.md does not say so", ptx_op_facts[op].name);
        }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_page), cmocka_unit_test(test_missing)};
    if (argc == 2 && !strcmp(argv[1], "--print")) {
        struct str page = {0};
        write_page(&page);
        fputs(page.data, stdout);
        str_release(&page);
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
