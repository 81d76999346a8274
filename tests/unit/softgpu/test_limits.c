/* What a text may ask for has limits: one beyond each is a sentence, and never a number that was cut off. */
#include "hopper.h"
#include "runtime/softgpu/ptx/module.h"

#include <unistd.h>

/* NULL, and no sentence, if the text is good; else the sentence, until the next call. */
static const char *complaint(const char *text) {
    static char error[512];
    error[0] = '\0';
    struct sg_module *m = sg_module_parse(text, strlen(text), error, sizeof error);
    sg_module_free(m);
    assert_int_equal(m != NULL, error[0] == '\0');
    return m ? NULL : error;
}

static void expect_refused(const char *text, const char *sentence) {
    const char *got = complaint(text);
    if (!got || strncmp(got, "PTX line ", 9) != 0 || !strstr(got, sentence))
        fail_msg("'%.300s' gives '%s' and not '%s'", text, got ? got : "no complaint", sentence);
}

static void expect_good(const char *text) {
    const char *got = complaint(text);
    if (got)
        fail_msg("'%.300s' gives '%s'", text, got);
}

/* A kernel with one instruction. */
static char *kernel(const char *body) {
    static char text[16384];
    snprintf(text, sizeof text,
             PTX_HEAD ".visible .entry k(.param .u64 x, .param .u64 y)\n{ .reg .pred %%p<4>; .reg .b32 %%r<9>;"
                      " .reg .b64 %%d<5>;\n%s\nret; }\n",
             body);
    return text;
}

/* Texts that wrote over other registers, over memory of ours, or that took 96 GB: ptxas refuses all but the last. */
static void wild_texts(void **state) {
    (void)state;
    static const struct {
        const char *body, *sentence;
    } list[] = {
        {"mul.wide.s32 %r2, %r1, 0x40000000; add.s64 %r1, %r2, 1;",
         "destination 1 must be a register of 64 bits and is a register of 32 bits in 'mul.wide.s32 %r2"},
        {"add.s64 %r1, %r2, 1;",
         "destination 1 must be a register of 64 bits and is a register of 32 bits in 'add.s64 %r1"},
        {".reg .b128 %x; mov.b128 %x, %clock;",
         "a special register of 32 bits cannot be read as b128 in 'mov.b128 %x, %clock'"},
        {".local .align 4 .b8 s[3000000000]; st.local.u32 [s], %r1;",
         "s takes 3000000000 bytes behind 0 others: a state space has at most 16777216"},
        /* fragments that are numbers, or begin nowhere */
        {"wgmma.mma_async.sync.aligned.m64n8k32.s32.u8.s8 {%r1, %r2, %r3, %r4}, {1, 2, 3, 4}, %d1, %p1;",
         "source 1 must be a vector of registers of 32 bits and has a number of 32 bits"},
        {"wgmma.mma_async.sync.aligned.m64n8k32.s32.u8.s8 {1, 2, 3, 4}, {%r1, %r2, %r3, %r4}, %d1, %p1;",
         "destination 1 must be a vector of registers of 32 bits and has a number of 32 bits"},
        {"mma.sync.aligned.m8n8k16.row.col.s32.u8.s8.s32 {7, %r2}, {%r1}, {%r5}, {%r3, %r4};",
         "destination 1 must be a vector of registers of 32 bits and has a number of 32 bits"},
        {"ld.global.v2.u32 {%r1, 7}, [%d1];",
         "destination 1 must be a vector of 2 registers of 32 bits or more and has a number of 32 bits"},
    };
    for (size_t k = 0; k < sizeof list / sizeof *list; k++)
        expect_refused(kernel(list[k].body), list[k].sentence);
    /* an offset that wraps twice is the one that is left */
    struct world w;
    world_open(&w, kernel("ld.param.u64 %d1, [x]; ld.global.u32 %r1, [%d1+-9223372036854775808+-9223372036854775808+8];"
                          " ld.param.u64 %d2, [y]; st.global.u32 [%d2], %r1;"));
    const uint32_t *in = world_alloc(&w, 16), *out = world_alloc(&w, 4);
    const void *const params[] = {in, out};
    world_run_good(&w, params);
    assert_int_equal(*out, in[2]);
    world_close(&w);
}

/* More than an instruction holds: the device does not have it, whatever it is. */
static void beyond_an_instruction(void **state) {
    (void)state;
    static const struct {
        const char *body, *sentence;
    } list[] = {
        {"cvt.s32.s32.s32.s32.s32 %r1, %r2;", "too many types"},
        {"lop3.b32 %r1, %r2, %r2, %r2, %r2, %r2, %r2, %r2, %r2;", "too many operands"},
        {"cp.async.bulk.tensor.1d.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], 0, 0, 0, 0, 0, [%d1, "
         "{%r2}];",
         "too many operands"},
    };
    for (size_t k = 0; k < sizeof list / sizeof *list; k++) {
        char error[256];
        const char *text = kernel(list[k].body);
        struct sg_module *m = sg_module_parse(text, strlen(text), error, sizeof error);
        if (!m || !sg_module_lacks(m, 0) || !strstr(sg_module_lacks(m, 0), list[k].sentence))
            fail_msg("'%s' is not lacking", list[k].body);
        sg_module_free(m);
    }
}

static void operands(void **state) {
    (void)state;
    static const struct {
        const char *body, *sentence;
    } list[] = {
        {"setp.lt.u32 %p1|%p2|%p3, %r1, %r2;", "too many destinations"},
        /* selectors belong to the first three operands of video instructions */
        {"add.u32 %r1, %r2.b0, %r3;", "add takes no selector .b0"},
        {"add.u32 %r1.h0, %r2, %r3;", "add takes no selector .h0"},
        {"vadd.u32.u32.u32 %r1, %r2, %r3, %r4, %r5.b0;", "vadd takes no selector .b0"},
        {"vadd.u32.u32.u32 %r1|%r2.b0, %r3, %r4;", "vadd takes no selector .b0"},
        {"vadd.u32.u32.u32 %r1, {%r2.b0, %r3}, %r4;", "vadd takes no selector .b0"},
        {"cp.async.bulk.tensor.1d.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%d1, {%r2.b0}], [%r3];",
         "cp takes no selector .b0"},
        /* of two parameters with 16 bytes */
        {"ld.param.u64 %d1, [y+8];", "an access of parameter bytes 16"},
        {"ld.param.u64 %d1, [x-8];", "an access of parameter bytes 18446744073709551608"},
        {"ld.param.v4.u64 {%d1, %d2, %d3, %d4}, [x];", "an access of parameter bytes 0"},
    };
    for (size_t k = 0; k < sizeof list / sizeof *list; k++)
        expect_refused(kernel(list[k].body), list[k].sentence);
    expect_good(kernel("vadd.u32.u32.u32 %r1, %r2.b3, %r3.h1; ld.param.v2.u64 {%d1, %d2}, [x];"));
}

/* `{%r1, %r1, …}` with so many elements. */
static void append_vector(struct str *out, int elements, const char *element) {
    for (int k = 0; k < elements; k++)
        str_printf(out, "%s%s", k ? ", " : "{", element);
    str_append(out, "}");
}

static void vectors_and_arguments(void **state) {
    (void)state;
    for (int elements = 255; elements <= 256; elements++) {
        struct str body = {0};
        str_append(&body, "mov.b64 %d1, ");
        append_vector(&body, elements, "%r1");
        str_append(&body, ";");
        expect_refused(kernel(body.data), elements == 255 ? "255 such parts do not make 64 bits"
                                                          : "a vector operand of more than 255 elements");
        str_release(&body);
    }
    for (int arguments = 64; arguments <= 65; arguments++) {
        struct str text = {0};
        str_append(&text, PTX_HEAD ".func g(");
        for (int k = 0; k < arguments; k++)
            str_printf(&text, "%s.param .b32 a%d", k ? ", " : "", k);
        str_append(&text, ")\n{ ret; }\n.visible .entry k()\n{ .param .b32 v; call g, (v");
        for (int k = 1; k < arguments; k++)
            str_append(&text, ", v");
        str_append(&text, "); ret; }\n");
        if (arguments == 64)
            expect_good(text.data);
        else
            expect_refused(text.data, "a call with more than 64 arguments");
        str_release(&text);
    }
}

static void numbers(void **state) {
    (void)state;
    static const char *const huge[] = {
        "18446744073709551616",    "99999999999999999999",
        "0x10000000000000000",     "0b10000000000000000000000000000000000000000000000000000000000000000",
        "02000000000000000000000", "0f3f8000000",
        "0d3ff00000000000000",
    };
    char body[256], sentence[256];
    for (size_t k = 0; k < sizeof huge / sizeof *huge; k++) {
        snprintf(sentence, sizeof sentence, "the number %s has more than 64 bits", huge[k]);
        snprintf(body, sizeof body, "mov.b64 %%d1, %s;", huge[k]);
        expect_refused(kernel(body), sentence);
        snprintf(body, sizeof body, "ld.global.u32 %%r1, [%%d1+%s];", huge[k]);
        expect_refused(kernel(body), sentence);
        snprintf(body, sizeof body, ".global .b64 v = %s;\n", huge[k]);
        expect_refused(body, sentence);
    }
    expect_good(kernel("mov.b64 %d1, 18446744073709551615; mov.b64 %d1, 0xffffffffffffffff;"));
    expect_good(
        kernel("mov.b64 %d1, 01777777777777777777777; mov.b64 %d1, 0d3ff0000000000000; mov.b32 %r1, 0f3F800000;"));
    expect_good(kernel("add.f64 %d1, %d1, 100000000000000000000000.5;"));
    /* 10^69 + 0.5 */
    expect_good(kernel("add.f64 %d1, %d1, 1000000000000000000000000000000000000000000000000000000000000000000000.5;"));
}

static void variables(void **state) {
    (void)state;
    static const struct {
        const char *text, *sentence; /* NULL: it is good */
    } list[] = {
        {".shared .b8 x[16777216];", NULL},
        {".shared .b8 x[16777217];", "x takes 16777217 bytes behind 0 others"},
        {".shared .b8 x[4294967296];", "x takes 4294967296 bytes behind 0 others"},
        {".shared .b8 x[8388609]; .shared .b64 y[1048576];", "y takes 8388608 bytes behind 8388609 others"},
        {".entry k() { .shared .b8 x[16777217]; ret; }", "x takes 16777217 bytes"},
        {".entry k() { .local .b8 x[16777217]; ret; }", "x takes 16777217 bytes"},
        {".entry k(.param .b8 x[16777217]) { ret; }", "x takes 16777217 bytes"},
        {".func g(.param .b8 x[16777217]) { ret; }", "x takes 16777217 bytes"},
        {".func g() { .local .b8 x[9000000]; ret; } .entry k() { .local .b8 y[9000000]; ret; }", NULL},
        {".func g() { .local .b8 x[9000000]; ret; } .func h() { .local .b8 y[9000000]; ret; }",
         "the .local variables of all functions take 18000000 bytes with those of h"},
        {".func g() { .local .b8 x[9000000]; ret; } .entry k() { .local .b8 y[9000000]; call g; ret; }",
         "the .local variables of all functions take 18000000 bytes with those of k"},
        {".global .b8 x[1099511627776];", NULL},
        {".global .b8 x[1048576][1048577];", "a variable of [1048577] elements"},
        {".global .b64 x[4294967296][4294967296];", "a variable of [4294967296] elements"},
        {".global .b8 x[-1];", "a variable of [-1] elements"},
        {".entry k(.param .b8 x[-1]) { ret; }", "a variable of [-1] elements"},
        {".global .b8 x[4294967296] = {1};",
         "x has 4294967296 bytes behind 0 others: with initialisers 2147483647 are possible"},
        {".global .b8 x[1073741824] = {1}; .global .b8 y[1073741824] = {1};",
         "y has 1073741824 bytes behind 1073741824 others"},
        {".shared .align 1048576 .b8 x[4];", NULL},
        {".shared .align 2097152 .b8 x[4];", ".align 2097152: powers of two"},
        {".shared .align 24 .b8 x[4];", ".align 24: powers of two"},
        {".global .align 0 .b8 x[4];", ".align 0: powers of two"},
        {".entry k(.param .align -8 .b8 x[4]) { ret; }", ".align -8: powers of two"},
    };
    for (size_t k = 0; k < sizeof list / sizeof *list; k++)
        if (list[k].sentence)
            expect_refused(list[k].text, list[k].sentence);
        else
            expect_good(list[k].text);
}

static void bounds_of_kernels(void **state) {
    (void)state;
    static const struct {
        const char *directive, *sentence;
    } list[] = {
        {".maxntid 65535, 65535, 1", NULL},
        {".maxntid 65536, 65536, 1", ".maxntid of more than 2^32 threads"},
        {".reqntid 65536, 1, 65536", ".reqntid of more than 2^32 threads"},
        {".maxntid 0", "0 is not possible here"},
        {".maxntid 4294967297", "4294967297 is not possible here"},
        {".minnctapersm -1", "-1 is not possible here"},
        {".minnctapersm 4294967296", "4294967296 is not possible here"},
        {".reqnctapercluster 2, 0", "0 is not possible here"},
        {".reqnctapercluster 4294967298", "4294967298 is not possible here"},
    };
    for (size_t k = 0; k < sizeof list / sizeof *list; k++) {
        char text[256];
        snprintf(text, sizeof text, ".visible .entry k() %s { ret; }\n", list[k].directive);
        if (list[k].sentence)
            expect_refused(text, list[k].sentence);
        else
            expect_good(text);
    }
}

/* An instruction for every 250 registers. */
static void append_each(struct str *out, const char *before, int registers, const char *behind) {
    for (int first = 0; first < registers; first += 250) {
        for (int k = first; k < registers && k < first + 250; k++)
            str_printf(out, "%s%%q%d", k == first ? before : ",", k);
        str_append(out, behind);
    }
}

/* Registers that all live through a loop: each has a slot of its own, here of 512 bytes. */
static void append_live(struct str *out, const char *kind, const char *name, int registers) {
    str_printf(out, "%s %s() { .reg .b128 %%q<%d>;\nL:\n", kind, name, registers);
    append_each(out, "st.b128 [0], {", registers, "};\n");
    append_each(out, "ld.b128 {", registers, "}, [0];\n");
    str_append(out, "bra L; }\n");
}

static void registers(void **state) {
    (void)state;
    expect_refused(kernel(".reg .b32 %a<1048576>; .reg .b64 %b<1048576>;"),
                   "1048576 registers more than the 1048595 before are too many: a function has at most 2097152");
    expect_refused(kernel(".reg .b32 %a<2097153>;"), "2097153 registers more than the 19 before are too many");
    expect_refused(kernel(".reg .b32 %a<-1>;"), "-1 registers more");
    expect_good(kernel(".reg .b32 %a<1048576>;"));
}

/* 128 MiB of registers in a warp, in one function and in two. */
static void banks(void **state) {
    (void)state;
    struct str text = {0};
    append_live(&text, ".entry", "k", BANK_MOST / 512 + 1);
    expect_refused(text.data, "the registers of a warp take 134218752 bytes with those of k: 134217728 are possible");
    str_clear(&text);
    append_live(&text, ".func", "g", BANK_MOST / 1024);
    append_live(&text, ".func", "h", BANK_MOST / 1024);
    expect_refused(text.data, "the registers of a warp take 134218752 bytes with those of h");
    /* and of constants, which have 32 lanes of 16 bytes each */
    str_clear(&text);
    for (int first = 0; first < BANK_MOST / 512; first += 250) {
        for (int k = first; k < first + 250; k++)
            str_printf(&text, "%s%d", k == first ? "st.b128 [0], {" : ",", k);
        str_append(&text, "};\n");
    }
    struct str module = {0};
    str_printf(&module, ".entry k() {\n%sret; }\n", text.data);
    expect_refused(module.data, "the numbers in the instructions of a module take more than 134217728 bytes");
    str_release(&text);
    str_release(&module);
}

static void text_length(void **state) {
    (void)state;
    char error[256] = "";
    assert_null(sg_module_parse("", (size_t)TEXT_MOST + 1, error, sizeof error)); /* refused before it is read */
    assert_string_equal(error, "a PTX text of 2147483648 bytes: 2147483647 are possible");
}

/* ---- what a launch may ask for ---- */

static void launches(void **state) {
    (void)state;
    struct world w;
    world_open(&w, PTX_HEAD ".visible .entry k() { .shared .b8 x[16]; ret; }\n");
    const struct sg_launch one = w.launch;
    const uint32_t huge[3] = {271968, 37171, 1824726041}; /* their product is 2^64 + 32 */
    w.launch.shared_dynamic = (1u << 24) - 16;
    world_run_good(&w, NULL);
    w.launch.shared_dynamic++;
    world_run_bad(&w, NULL, SG_FAULT_LAUNCH, "shared memory are the most, these CTAs have: 16777217");
    w.launch.shared_dynamic = UINT32_MAX; /* 15 with the static ones, in 32 bits */
    world_run_bad(&w, NULL, SG_FAULT_LAUNCH, "shared memory are the most, these CTAs have: 4294967311");
    w.launch = one;
    memcpy(w.launch.block, (uint32_t[3]){1024, 1, 1}, sizeof w.launch.block);
    world_run_good(&w, NULL);
    memcpy(w.launch.block, (uint32_t[3]){1025, 1, 1}, sizeof w.launch.block);
    world_run_bad(&w, NULL, SG_FAULT_LAUNCH, "1 to 1024 threads, this one has: 1025");
    memcpy(w.launch.block, huge, sizeof w.launch.block);
    world_run_bad(&w, NULL, SG_FAULT_LAUNCH, "this one has: 18446744073709551615");
    w.launch = one;
    memcpy(w.launch.grid, huge, sizeof w.launch.grid);
    world_run_bad(&w, NULL, SG_FAULT_LAUNCH, "impossible number of CTAs: 18446744073709551615");
    memcpy(w.launch.grid, (uint32_t[3]){65536, 32768, 1}, sizeof w.launch.grid);
    world_run_bad(&w, NULL, SG_FAULT_LAUNCH, "impossible number of CTAs: 2147483648");
    w.launch = one;
    memcpy(w.launch.grid, (uint32_t[3]){16, 1, 1}, sizeof w.launch.grid);
    memcpy(w.launch.cluster, w.launch.grid, sizeof w.launch.grid);
    world_run_good(&w, NULL);
    memcpy(w.launch.grid, (uint32_t[3]){17, 1, 1}, sizeof w.launch.grid);
    memcpy(w.launch.cluster, w.launch.grid, sizeof w.launch.grid);
    world_run_bad(&w, NULL, SG_FAULT_LAUNCH, "16 CTAs in a cluster are the most, this one has: 17");
    world_close(&w);
}

/* Local memory of many threads is much. */
static void memory_of_threads(void **state) {
    (void)state;
    struct world w;
    world_open(&w, PTX_HEAD ".visible .entry k() { .reg .b32 %r<2>; .local .b8 x[4194304]; mov.u32 %r1, 7;\n"
                            "st.local.u32 [x+4194300], %r1; ret; }\n");
    w.launch.grid[0] = 3;
    w.launch.checks = 0;
    world_run_good(&w, NULL);
    w.launch.block[0] = 1024;
    world_run_bad(&w, NULL, SG_FAULT_LAUNCH,
                  "k: registers, local and shared memory of a cluster take more than 2^32 bytes here: 42949");
    world_close(&w);
}

/* An estimate runs a few columns of a grid that may be larger, and their clusters may not be. */
static void clusters_of_an_estimate(void **state) {
    (void)state;
    struct world w;
    const uint32_t column[1][2] = {{0, 0}};
    world_open(&w, PTX_HEAD ".visible .entry k() { ret; }\n");
    memcpy(w.launch.grid, (uint32_t[3]){65536, 65536, 1}, sizeof w.launch.grid);
    memcpy(w.launch.cluster, w.launch.grid, sizeof w.launch.grid); /* 0 of them, in 32 bits */
    w.launch.sample = column;
    w.launch.sample_count = 1;
    world_run_bad(&w, NULL, SG_FAULT_LAUNCH, "16 CTAs in a cluster are the most, this one has: 4294967296");
    world_close(&w);
}

/* ---- what a CTA and a warp may have ---- */

static void barriers(void **state) {
    (void)state;
    struct world w;
    world_open(&w, kernel("bar.sync 15; mov.u32 %r1, 16; bar.sync %r1;"));
    const uint64_t none[2] = {0};
    world_run_bad(&w, none, SG_FAULT_DIVERGENT_BARRIER, "barrier 16 for 0 threads does not exist");
    world_close(&w);
    /* mbarriers at 0, 8, …: as many as %r1 says, by one thread */
    for (int count = 64; count <= 65; count++) {
        char body[512];
        snprintf(body, sizeof body,
                 ".shared .align 8 .b8 buf[1024]; mov.u32 %%r1, %%tid.x; setp.ne.u32 %%p1, %%r1, 0; @%%p1 exit;\n"
                 "mov.u32 %%r2, 0; L: mbarrier.init.shared.b64 [%%r2], 1; mbarrier.init.shared.b64 [%%r2], 2;\n"
                 "add.u32 %%r2, %%r2, 8; setp.lt.u32 %%p2, %%r2, %d; @%%p2 bra L;",
                 8 * count);
        world_open(&w, kernel(body));
        if (count == 64)
            world_run_good(&w, none);
        else
            world_run_bad(&w, none, SG_FAULT_UNSUPPORTED, "more than 64 mbarriers in a CTA");
        world_close(&w);
    }
}

/* f0 calls f1 twice, which calls f2 twice, …: 2^17 - 1 chains of callers, each of which finds its way back. */
static void chains_of_callers(void **state) {
    (void)state;
    enum { DEEP = 17 };
    struct str ptx = {0};
    struct world w;
    str_append(&ptx, PTX_HEAD);
    for (int k = DEEP; k >= 0; k--) {
        str_printf(&ptx, ".func (.param .b32 r) f%d()\n{ .reg .b32 %%r<4>; .param .b32 v; mov.u32 %%r3, 1;\n", k);
        for (int twice = 1; twice <= 2 && k < DEEP; twice++)
            str_printf(&ptx, "call (v), f%d; ld.param.b32 %%r%d, [v];\n", k + 1, twice);
        str_append(&ptx, k < DEEP ? "add.u32 %r3, %r1, %r2; st.param.b32 [r], %r3; ret; }\n"
                                  : "st.param.b32 [r], %r3; ret; }\n");
    }
    str_append(&ptx,
               ".visible .entry k(.param .u64 out)\n{ .reg .b32 %r<2>; .reg .b64 %d<2>; .param .b32 v;\n"
               "ld.param.u64 %d1, [out]; call (v), f0; ld.param.b32 %r1, [v]; st.global.u32 [%d1], %r1; ret; }\n");
    world_open(&w, ptx.data);
    uint32_t *out = world_alloc(&w, 4);
    w.launch.block[0] = 1;
    w.launch.max_warp_instructions = 0;
    world_run_good(&w, &out);
    assert_int_equal(*out, 1 << DEEP);
    world_close(&w);
    str_release(&ptx);
}

/* Lanes that call different functions from one place return with what each has computed. */
static void callers_from_one_place(void **state) {
    (void)state;
    struct world w;
    world_open(
        &w, PTX_HEAD
        ".func (.param .b32 r) f(.param .b32 x) { .reg .b32 %r<3>; ld.param.b32 %r1, [x]; add.u32 %r2, %r1, 100;\n"
        "st.param.b32 [r], %r2; ret; }\n"
        ".func (.param .b32 r) g(.param .b32 x) { .reg .b32 %r<3>; ld.param.b32 %r1, [x]; add.u32 %r2, %r1, 200;\n"
        "st.param.b32 [r], %r2; ret; }\n"
        ".visible .entry k(.param .u64 out)\n{ .reg .pred %p<2>; .reg .b32 %r<5>; .reg .b64 %d<6>;\n"
        ".param .b32 a; .param .b32 v; mov.u32 %r1, %tid.x; and.b32 %r2, %r1, 1; setp.eq.u32 %p1, %r2, 0;\n"
        "mov.b64 %d1, f; mov.b64 %d2, g; selp.b64 %d3, %d1, %d2, %p1; st.param.b32 [a], %r1;\n"
        "P: .callprototype (.param .b32 _) _ (.param .b32 _);\ncall (v), %d3, (a), P;\n"
        "ld.param.b32 %r3, [v]; ld.param.u64 %d4, [out]; mul.wide.u32 %d5, %r1, 4; add.u64 %d4, %d4, %d5;\n"
        "st.global.u32 [%d4], %r3; ret; }\n");
    uint32_t *out = world_alloc(&w, 128);
    world_run_good(&w, &out);
    for (uint32_t k = 0; k < 32; k++)
        assert_int_equal(out[k], k + (k % 2 ? 200 : 100));
    world_close(&w);
}

/* A box of 2^36 bytes is 0 in 32 bits. */
static void boxes(void **state) {
    (void)state;
    struct str ptx = {0};
    struct world w;
    struct {
        CUtensorMap map;
        void *in, *out;
    } p;
    head(&ptx, ".param .align 64 .b8 map[128], " TWO_POINTERS);
    str_append(&ptx, "mov.b64 %rd7, map; cvta.param.u64 %rd8, %rd7; mov.u32 %r3, 0;\n" INIT("1") FENCE
               "bar.sync 0;\n"
               "@%p1 cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes [%r2], [%rd8, "
               "{%r3, %r3, %r3, %r3, %r3}], [bar];\nret; }\n");
    world_open(&w, ptx.data);
    p.in = world_alloc(&w, 4096);
    p.out = NULL;
    const cuuint64_t size[] = {16, 256, 256, 256, 256}, stride[] = {16, 16, 16, 16};
    const cuuint32_t box[] = {16, 256, 256, 256, 256}, step[] = {1, 1, 1, 1, 1};
    assert_int_equal(cuTensorMapEncodeTiled(&p.map, CU_TENSOR_MAP_DATA_TYPE_UINT8, 5, p.in, size, stride, box, step,
                                            CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_NONE,
                                            CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
                     CUDA_SUCCESS);
    world_run_bad(&w, &p, SG_FAULT_OUT_OF_BOUNDS, "a bulk copy of 68719476736 bytes at shared 0x0 of");
    world_close(&w);
    str_release(&ptx);
}

/* Runs with standard output going to a file; what came out of it, 0-terminated, for the caller to free. */
static char *printed(struct world *w, const void *params, size_t *length) {
    FILE *file = tmpfile();
    char *text = calloc(1, 4096);
    assert_non_null(file);
    fflush(stdout);
    int kept = dup(STDOUT_FILENO);
    dup2(fileno(file), STDOUT_FILENO);
    world_run_good(w, params);
    fflush(stdout);
    dup2(kept, STDOUT_FILENO);
    close(kept);
    rewind(file);
    *length = fread(text, 1, 4095, file);
    fclose(file);
    return text;
}

/* A %s of 600 characters, a %900d, and the 0 of a %c come out whole. */
static void prints(void **state) {
    (void)state;
    struct world w;
    world_open(&w,
               PTX_HEAD ".extern .func (.param .b32 r) vprintf(.param .b64 f, .param .b64 a);\n"
                        ".visible .entry k(.param .u64 f, .param .u64 a)\n"
                        "{ .reg .b64 %d<3>; .param .b64 p; .param .b64 q; .param .b32 v;\n"
                        "ld.param.u64 %d1, [f]; ld.param.u64 %d2, [a]; st.param.b64 [p], %d1; st.param.b64 [q], %d2;\n"
                        "call (v), vprintf, (p, q); ret; }\n");
    char *format = world_alloc(&w, 64), *string = world_alloc(&w, 601), want[4096];
    struct {
        const char *string;
        int number, letter;
    } *arguments = world_alloc(&w, sizeof *arguments);
    size_t length, wanted;
    strcpy(format, "<%s><%900d><%c>\n");
    memset(string, 'a', 600);
    string[600] = '\0';
    *arguments = (__typeof__(*arguments)){string, -7, 0};
    const void *const params[] = {format, arguments};
    w.launch.block[0] = 1;
    char *got = printed(&w, params, &length);
    wanted = (size_t)snprintf(want, sizeof want, format, string, -7, 0);
    assert_int_equal(length, wanted);
    assert_memory_equal(got, want, wanted);
    free(got);
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(beyond_an_instruction),
        cmocka_unit_test(wild_texts),
        cmocka_unit_test(operands),
        cmocka_unit_test(vectors_and_arguments),
        cmocka_unit_test(numbers),
        cmocka_unit_test(variables),
        cmocka_unit_test(bounds_of_kernels),
        cmocka_unit_test(registers),
        cmocka_unit_test(banks),
        cmocka_unit_test(text_length),
        cmocka_unit_test(launches),
        cmocka_unit_test(memory_of_threads),
        cmocka_unit_test(clusters_of_an_estimate),
        cmocka_unit_test(barriers),
        cmocka_unit_test(chains_of_callers),
        cmocka_unit_test(callers_from_one_place),
        cmocka_unit_test(boxes),
        cmocka_unit_test(prints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
