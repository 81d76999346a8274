/* Values from shared and local memory that was never written: they may be loaded, moved and thrown away. Who computes with
 * one, branches on it, takes it for an address or stores it to global memory is reported, with where it is from. */
#include "hopper.h"

/* 32 threads; %r4 is the address of a thread's word in shared memory, %rd4 in in[], %rd5 in out[]. in[] is stored to
 * the words of the first `written` threads. */
static void build(struct str *ptx, int written, const char *steps) {
    head(ptx, TWO_POINTERS);
    str_printf(ptx,
               ".local .align 16 .b8 own[64]; .reg .b64 %%l<3>; .reg .b16 %%s<4>;\n"
               "mul.wide.u32 %%rd3, %%r1, 4; add.u64 %%rd4, %%rd1, %%rd3; add.u64 %%rd5, %%rd2, %%rd3;\n"
               "shl.b32 %%r5, %%r1, 2; add.u32 %%r4, %%r2, %%r5; ld.global.u32 %%r6, [%%rd4];\n"
               "setp.lt.u32 %%p2, %%r1, %d; @%%p2 st.shared.u32 [%%r4], %%r6; bar.sync 0;\n"
               "ld.shared.u32 %%r8, [%%r4];\n%s\nret; }\n",
               written, steps);
}

static void check_steps(int written, const char *steps, const char *fault) {
    struct str ptx = {0};
    build(&ptx, written, steps);
    for (uint64_t seed = 0; seed < 2; seed++) {
        struct world w;
        world_open(&w, ptx.data);
        struct pointers p = {world_alloc(&w, 8192), world_alloc(&w, 8192)};
        w.launch.seed = seed;
        if (fault)
            world_run_bad(&w, &p, SG_FAULT_UNINITIALIZED, fault);
        else
            world_run_good(&w, &p);
        world_close(&w);
    }
    str_release(&ptx);
}

#define STORE "st.global.u32 [%rd5], %r8;"

/* What may be done: nothing, moves, choices, overwriting, and whatever lanes do that have a value. */
static void test_harmless(void **state) {
    (void)state;
    check_steps(20, "", NULL);
    check_steps(20, "mov.u32 %r9, %r8; mov.b64 %rd6, {%r8, %r9}; mov.b64 {%r10, %r11}, %rd6;", NULL);
    check_steps(20, "mov.u32 %r8, 1; add.u32 %r8, %r8, 1;", NULL);
    check_steps(20, "@%p2 add.u32 %r8, %r8, 1; @%p2 " STORE, NULL);
    check_steps(20, "selp.b32 %r8, %r8, %r1, %p2; add.u32 %r8, %r8, 1; " STORE, NULL);
    check_steps(20, "@!%p2 mov.u32 %r8, 7; mul.lo.u32 %r8, %r8, %r8; " STORE, NULL);
    /* the half of a pair that has a value */
    check_steps(20, "mov.b64 %rd6, {%r8, %r1}; mov.b64 {%r9, %r10}, %rd6; add.u32 %r10, %r10, 1;", NULL);
    /* through shared memory, and through the thread's own: still no value, and a value again when one is stored */
    check_steps(20, "st.shared.u32 [%r4+1024], %r8; ld.shared.u32 %r9, [%r4+1024];", NULL);
    check_steps(20,
                "st.shared.u32 [%r4+1024], %r8; st.shared.u32 [%r4+1024], %r1; ld.shared.u32 %r9, [%r4+1024]; "
                "add.u32 %r9, %r9, 1;",
                NULL);
    check_steps(32, "mov.u64 %l1, own; ld.local.u32 %r9, [%l1]; mov.u32 %r10, %r9;", NULL);
    check_steps(20, "mov.u64 %l1, own; st.local.u32 [%l1], %r8; ld.local.u32 %r9, [%l1]; @%p2 add.u32 %r9, %r9, 1;",
                NULL);
    check_steps(32, "mov.u64 %l1, own; st.local.u32 [%l1+4], %r8; ld.local.u32 %r9, [%l1+4]; add.u32 %r9, %r9, 1;",
                NULL);
}

static void test_uses(void **state) {
    (void)state;
    const char *uses = "was never written; PTX line 13 loaded it, and this uses it";
    check_steps(20, "add.u32 %r9, %r8, 1;", uses);
    check_steps(20, "add.u32 %r9, %r8, 1;", "lane 20, PTX line 14 'add.u32 %r9, %r8, 1': shared 0x50 was");
    check_steps(31, "setp.eq.u32 %p3, %r8, 1;", uses);
    check_steps(20, "mov.u32 %r9, %r8; add.u32 %r9, %r9, 1;", uses);
    check_steps(20, "mov.b64 %rd6, {%r1, %r8}; mov.b64 {%r9, %r10}, %rd6; add.u32 %r10, %r10, 1;", uses);
    check_steps(20, "mov.b64 %rd6, {%r1, %r8}; add.u64 %rd6, %rd6, 1;", uses);
    check_steps(20, "selp.b32 %r8, %r1, %r8, %p2; add.u32 %r8, %r8, 1;", uses);
    check_steps(20, "add.u32 %r8, %r2, %r8; ld.shared.u32 %r9, [%r8];", uses);
    check_steps(20, "ld.shared.u32 %r9, [%r8];", uses);
    check_steps(20, "st.shared.u32 [%r8], %r1;", uses);
    check_steps(20, STORE, "was never written; PTX line 13 loaded it, and this stores it");
    check_steps(20, "mov.b64 %rd6, {%r8, %r8}; st.global.u64 [%rd2], %rd6;", "this stores it");
    check_steps(20, "cvta.to.global.u64 %rd6, %rd5; st.u32 [%rd6], %r8;", "this stores it");
    check_steps(20, "atom.global.add.u32 %r9, [%rd2], %r8;", uses);
    check_steps(20, "shfl.sync.idx.b32 %r9, %r8, 25, 31, -1;", uses);
    check_steps(20, "@!%p2 add.u32 %r9, %r8, 1;", uses);
    check_steps(20, "st.shared.u32 [%r4+1024], %r8; ld.shared.u32 %r9, [%r4+1024]; add.u32 %r9, %r9, 1;",
                "shared 0x450 was never written; PTX line 14 loaded it");
    check_steps(32, "mov.u64 %l1, own; ld.local.u32 %r9, [%l1]; add.u32 %r9, %r9, 1;", "local 0x0 was never written");
    check_steps(20, "mov.u64 %l1, own; st.local.u32 [%l1], %r8; ld.local.u32 %r9, [%l1]; add.u32 %r9, %r9, 1;",
                "local 0x0 was never written; PTX line 14 loaded it");
    check_steps(32, "mov.u64 %l1, own; cvta.local.u64 %l2, %l1; atom.add.u32 %r9, [%l2], 1;",
                "local 0x0 was never written");
    check_steps(32, "atom.shared.add.u32 %r9, [%r4+1024], 1;", "shared 0x400 was never written");
}

/* A structure with a char and an int: what a compiler makes of its copies and of uses of its char. */
#define CHAR "st.shared.u8 [%r4+1024], %h1;"

static void test_parts(void **state) {
    (void)state;
    const char *uses = "and this uses it";
    check_steps(32, CHAR "ld.shared.u32 %r9, [%r4+1024]; st.global.u32 [%rd5], %r9;", NULL);
    check_steps(32, CHAR "ld.shared.u8 %r9, [%r4+1024]; add.u32 %r9, %r9, 1;", NULL);
    check_steps(32, CHAR "ld.shared.u32 %r9, [%r4+1024]; and.b32 %r9, %r9, 255; add.u32 %r9, %r9, 1;", NULL);
    check_steps(32, CHAR "ld.shared.u32 %r9, [%r4+1024]; cvt.s32.s8 %r9, %r9; add.u32 %r9, %r9, 1;", NULL);
    check_steps(32,
                CHAR "ld.shared.u32 %r9, [%r4+1024]; cvt.u16.u32 %s1, %r9; and.b16 %s1, %s1, 255; add.u16 %s1, %s1, 1;",
                NULL);
    check_steps(32, CHAR "ld.shared.u32 %r9, [%r4+1024]; prmt.b32 %r9, %r9, %r1, 0x4440; add.u32 %r9, %r9, 1;", NULL);
    check_steps(32, CHAR "ld.shared.u32 %r9, [%r4+1024]; add.u32 %r9, %r9, 1;", uses);
    check_steps(32, CHAR "ld.shared.u32 %r9, [%r4+1024]; and.b32 %r9, %r9, 511; add.u32 %r9, %r9, 1;", uses);
    check_steps(32, CHAR "ld.shared.u32 %r9, [%r4+1024]; prmt.b32 %r9, %r9, %r1, 0x4441; add.u32 %r9, %r9, 1;", uses);
    check_steps(32, CHAR "ld.shared.u8 %r9, [%r4+1025]; st.global.u8 [%rd5], %r9;", "and this stores it");
    check_steps(32, CHAR "ld.shared.u8 %r9, [%r4+1025]; and.b32 %r9, %r9, 0xffffff00; add.u32 %r9, %r9, 1;", NULL);
    check_steps(32, CHAR "ld.shared.s8 %r9, [%r4+1025]; and.b32 %r9, %r9, 0xffffff00; add.u32 %r9, %r9, 1;", uses);
}

/* Rows of a matrix that nobody stored: the registers of their lanes alone have no value. */
#define FOUR_ROWS                                                                                                      \
    "setp.lt.u32 %p3, %r1, 20; shl.b32 %r9, %r1, 4; add.u32 %r9, %r9, %r2;\n"                                          \
    "@%p3 st.shared.v4.u32 [%r9+2048], {%r1, %r1, %r1, %r1}; bar.sync 0; and.b32 %r20, %r1, 3; shr.u32 %r21, %r1, "    \
    "2;\n"
#define MATRICES(trans) "ldmatrix.sync.aligned.m8n8.x4" trans ".shared.b16 {%r10, %r11, %r12, %r13}, [%r9+2048];\n"

static void test_matrices(void **state) {
    (void)state;
    /* 20 rows: two matrices and four rows of the third; transposed, its columns */
    check_steps(32, FOUR_ROWS MATRICES("") "add.u32 %r10, %r10, %r11;", NULL);
    check_steps(32, FOUR_ROWS MATRICES("") "setp.lt.u32 %p4, %r21, 4; @%p4 add.u32 %r12, %r12, 1;", NULL);
    check_steps(32, FOUR_ROWS MATRICES("") "setp.lt.u32 %p4, %r21, 5; @%p4 add.u32 %r12, %r12, 1;",
                "lane 16, PTX line");
    check_steps(32, FOUR_ROWS MATRICES(".trans") "setp.lt.u32 %p4, %r20, 2; @%p4 add.u32 %r12, %r12, 1;", NULL);
    check_steps(32, FOUR_ROWS MATRICES(".trans") "setp.lt.u32 %p4, %r20, 3; @%p4 add.u32 %r12, %r12, 1;",
                "lane 2, PTX line");
    check_steps(32, FOUR_ROWS MATRICES("") "mov.u32 %r14, %r13;", NULL);
    check_steps(32, FOUR_ROWS MATRICES("") "add.u32 %r14, %r13, 1;", "lane 0, PTX line");
}

/* In and out of functions: their parameters are local memory. */
static void test_calls(void **state) {
    (void)state;
    static const char *const text =
        ".version 8.0\n.target sm_80\n.address_size 64\n"
        ".func (.param .align 4 .b8 back[8]) pass(.param .align 4 .b8 pair[8])\n{ .reg .b32 %%r<3>;\n"
        "ld.param.u32 %%r1, [pair]; ld.param.u32 %%r2, [pair+4];\n"
        "st.param.u32 [back], %%r2; st.param.u32 [back+4], %%r1; ret; }\n"
        ".visible .entry k(.param .u64 out)\n{ .shared .b32 word; .reg .b32 %%r<9>; .reg .b64 %%rd<3>;\n"
        "ld.param.u64 %%rd1, [out]; ld.shared.u32 %%r1, [word]; mov.u32 %%r2, 5;\n"
        "{ .param .align 4 .b8 give[8]; .param .align 4 .b8 take[8];\n"
        "st.param.u32 [give], %%r1; st.param.u32 [give+4], %%r2;\n"
        "call (take), pass, (give);\n"
        "ld.param.u32 %%r3, [take]; ld.param.u32 %%r4, [take+4]; }\n%s st.global.u32 [%%rd1], %%r3; ret; }\n";
    static const struct {
        const char *use, *fault;
    } cases[] = {{"", NULL}, {"add.u32 %r3, %r3, %r4;", "was never written"}, {"mov.u32 %r5, %r4;", NULL}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct str ptx = {0};
        struct world w;
        str_printf(&ptx, text, cases[k].use); /* NOLINT(clang-diagnostic-format-nonliteral) */
        world_open(&w, ptx.data);
        uint32_t *out = world_alloc(&w, 64);
        if (cases[k].fault) {
            world_run_bad(&w, &out, SG_FAULT_UNINITIALIZED, cases[k].fault);
        } else {
            world_run_good(&w, &out);
            assert_int_equal(*out, 5);
        }
        world_close(&w);
        str_release(&ptx);
    }
}

/* A bulk copy of 128 bytes of which words 5 and 30 were never written; then `steps` by 32 threads. */
static void check_bulk(const char *steps, const char *fault) {
    static uint32_t written[4] = {~(1u << 5 | 1u << 30), UINT32_MAX, UINT32_MAX, UINT32_MAX};
    struct str ptx = {0};
    struct world w;
    head(&ptx, TWO_POINTERS);
    str_append(&ptx, INIT("1") FENCE "bar.sync 0;\n" EXPECT("128") "@%p1 " BULK "[%r2], [%rd1], 128, [bar];\n");
    wait_parity(&ptx, "L", "0");
    str_printf(&ptx, "shl.b32 %%r5, %%r1, 2; add.u32 %%r4, %%r2, %%r5; ld.shared.u32 %%r8, [%%r4];\n%s\nret; }\n",
               steps);
    world_open(&w, ptx.data);
    struct pointers p = {world_alloc(&w, 512), world_alloc(&w, 8192)};
    for (int k = 0; k < w.memory.count; k++)
        if (w.alloc[k].base == (uintptr_t)p.in)
            w.alloc[k].written = written;
    if (fault)
        world_run_bad(&w, &p, SG_FAULT_UNINITIALIZED, fault);
    else
        world_run_good(&w, &p);
    world_close(&w);
    str_release(&ptx);
}

static void test_bulk_copies(void **state) {
    (void)state;
    check_bulk("", NULL);
    check_bulk("setp.ne.u32 %p3, %r1, 5; setp.ne.and.u32 %p3, %r1, 30, %p3; @%p3 add.u32 %r8, %r8, 1;", NULL);
    check_bulk("setp.ne.u32 %p3, %r1, 5; @%p3 add.u32 %r8, %r8, 1;", "shared 0x78 was never written");
    check_bulk("add.u32 %r8, %r8, 1;", "shared 0x14 was never written");
    check_bulk("ld.global.v4.u32 {%r10, %r11, %r12, %r13}, [%rd1+16]; add.u32 %r10, %r12, %r13;", NULL);
    check_bulk("ld.global.v4.u32 {%r10, %r11, %r12, %r13}, [%rd1+16]; add.u32 %r10, %r11, %r13;",
               "was never written; PTX line");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_harmless), cmocka_unit_test(test_uses),  cmocka_unit_test(test_parts),
        cmocka_unit_test(test_matrices), cmocka_unit_test(test_calls), cmocka_unit_test(test_bulk_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
