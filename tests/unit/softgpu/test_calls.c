/* Calls: of functions by name and through a register, with all kinds of parameters, wrong ones, and those of the
 * functions that no module defines: printf and assert. */
#include "capture.h"
#include "runtime/base/str.h"
#include "world.h"

/* Variables of the module get memory of their own. */
static void bind_variables(struct world *w) {
    for (int k = 0; k < sg_module_variable_count(w->module); k++) {
        size_t size, align;
        const void *init;
        sg_module_variable(w->module, k, &size, &align, &init);
        void *p = world_alloc(w, size);
        memset(p, 0, size);
        if (init)
            memcpy(p, init, size);
        sg_module_variable_bind(w->module, k, (uintptr_t)p);
    }
    sg_module_link(w->module);
}

#define FUNCTIONS                                                                                                      \
    ".func (.param .b32 r) twice(.param .b32 x)\n"                                                                     \
    "{ .reg .b32 %r<3>; ld.param.b32 %r1, [x]; add.u32 %r2, %r1, %r1; st.param.b32 [r], %r2; ret; }\n"                 \
    ".func (.param .b32 r) square(.param .b32 x)\n"                                                                    \
    "{ .reg .b32 %r<3>; ld.param.b32 %r1, [x]; mul.lo.u32 %r2, %r1, %r1; st.param.b32 [r], %r2; ret; }\n"              \
    ".func (.param .b32 r) forward(.param .b32 x, .param .b64 to)\n"                                                   \
    "{ .reg .b32 %r<3>; .reg .b64 %rd<2>; ld.param.b32 %r1, [x]; ld.param.b64 %rd1, [to]; add.u32 %r1, %r1, 1;\n"      \
    "{ .param .b32 a; .param .b32 v; st.param.b32 [a], %r1;\n"                                                         \
    "P: .callprototype (.param .b32 _) _ (.param .b32 _);\n"                                                           \
    "call (v), %rd1, (a), P; ld.param.b32 %r2, [v]; } st.param.b32 [r], %r2; ret; }\n"
#define HEAD                                                                                                           \
    ".visible .entry k(.param .u64 out)\n"                                                                             \
    "{ .reg .pred %p<4>; .reg .b32 %r<9>; .reg .b64 %rd<9>; ld.param.u64 %rd1, [out]; mov.u32 %r1, %tid.x;\n"          \
    "mul.wide.u32 %rd2, %r1, 4; add.u64 %rd2, %rd1, %rd2; setp.lt.u32 %p1, %r1, 7;\n"
#define CALL_RD3                                                                                                       \
    "{ .param .b32 a; .param .b32 v; st.param.b32 [a], %r1;\n"                                                         \
    "Q: .callprototype (.param .b32 _) _ (.param .b32 _);\n"                                                           \
    "call (v), %rd3, (a), Q; ld.param.b32 %r2, [v]; }\n"
#define TAIL "st.global.u32 [%rd2], %r2; ret; }\n"

typedef uint32_t value_fn(uint32_t thread);
static uint32_t of_mixed(uint32_t k) {
    return k < 7 ? 2 * k : k * k;
}
static uint32_t of_square(uint32_t k) {
    return k * k;
}
static uint32_t of_forward(uint32_t k) {
    return k < 7 ? 2 * (k + 1) : (k + 1) * (k + 1);
}
static uint32_t of_third(uint32_t k) {
    return k % 3 == 0 ? 2 * k : k % 3 == 1 ? k * k : 2 * k;
}

static void check_values(const char *ptx, value_fn *want) {
    struct world w;
    world_open(&w, ptx);
    bind_variables(&w);
    uint32_t *out = world_alloc(&w, 256);
    w.launch.block[0] = 50;
    world_run_good(&w, &out);
    for (uint32_t k = 0; k < 50; k++)
        if (out[k] != want(k))
            fail_msg("thread %u gives %u, not %u", k, out[k], want(k));
    world_close(&w);
}

/* The callee is a value: of the code, of a table, of a parameter, and not the same in every lane. */
static void test_indirect(void **state) {
    (void)state;
    check_values(PTX_HEAD FUNCTIONS HEAD "mov.u64 %rd3, square;\n" CALL_RD3 TAIL, of_square);
    check_values(PTX_HEAD FUNCTIONS HEAD
                 "mov.u64 %rd3, square; { .param .b32 a; .param .b32 v; st.param.b32 [a], %r1;\n"
                 "T: .calltargets twice, square;\ncall (v), %rd3, (a), T; "
                 "ld.param.b32 %r2, [v]; }\n" TAIL,
                 of_square);
    check_values(PTX_HEAD FUNCTIONS HEAD
                 "mov.u64 %rd4, square; mov.u64 %rd5, twice; selp.b64 %rd3, %rd5, %rd4, %p1;\n" CALL_RD3 TAIL,
                 of_mixed);
    check_values(PTX_HEAD FUNCTIONS ".global .align 8 .u64 table[3] = {twice, square, generic(twice)};\n" HEAD
                                    "rem.u32 %r3, %r1, 3; mul.wide.u32 %rd4, %r3, 8; mov.u64 %rd5, table;\n"
                                    "add.u64 %rd4, %rd4, %rd5; ld.global.u64 %rd3, [%rd4];\n" CALL_RD3 TAIL,
                 of_third);
    check_values(PTX_HEAD FUNCTIONS HEAD "mov.u64 %rd4, square; mov.u64 %rd5, twice; selp.b64 %rd3, %rd5, %rd4, %p1;\n"
                                         "{ .param .b32 a; .param .b64 b; .param .b32 v; st.param.b32 [a], %r1;\n"
                                         "st.param.b64 [b], %rd3; call.uni (v), forward, (a, b);\n"
                                         "ld.param.b32 %r2, [v]; }\n" TAIL,
                 of_forward);
}

/* A kernel whose call faults with this sentence. */
static void check_fault(const char *functions, const char *code, enum sg_fault_kind kind, const char *text) {
    struct str ptx = {0};
    struct world w;
    str_printf(&ptx, "%s%s%s%s%s", PTX_HEAD, functions, HEAD, code, TAIL);
    world_open(&w, ptx.data);
    uint32_t *out = world_alloc(&w, 256);
    world_run_bad(&w, &out, kind, text);
    world_close(&w);
    str_release(&ptx);
}

static void test_wrong_calls(void **state) {
    (void)state;
    const char *other = "a call of something that is not a function with these parameters";
    check_fault(FUNCTIONS, "mov.u64 %rd3, 0;\n" CALL_RD3, SG_FAULT_UNSUPPORTED, other);
    check_fault(FUNCTIONS, "mov.u64 %rd3, 80;\n" CALL_RD3, SG_FAULT_UNSUPPORTED, other);
    check_fault(FUNCTIONS, "mov.u64 %rd3, forward;\n" CALL_RD3, SG_FAULT_UNSUPPORTED, other); /* takes two */
    check_fault(FUNCTIONS, "mov.u64 %rd3, k;\n" CALL_RD3, SG_FAULT_UNSUPPORTED, other);
    check_fault(FUNCTIONS, "call twice;\n", SG_FAULT_UNSUPPORTED, other);
    check_fault(".func nothing() { ret; }\n", "{ .param .b32 v; call (v), nothing; ld.param.b32 %r2, [v]; }\n",
                SG_FAULT_UNSUPPORTED, other);
    check_fault(".func again() { call again; ret; }\n", "call again;\n", SG_FAULT_UNSUPPORTED,
                "'call again': a recursive call of again");
    check_fault(".func first();\n.func second() { call first; ret; }\n.func first() { call second; ret; }\n",
                "call first;\n", SG_FAULT_UNSUPPORTED, "a recursive call of first");
    check_fault(".extern .func elsewhere();\n", "call elsewhere;\n", SG_FAULT_UNSUPPORTED,
                "a call of elsewhere, which the module does not define");
    check_fault(".extern .func (.param .b32 r) vprintf(.param .b64 f);\n",
                "{ .param .b64 a; .param .b32 v; st.param.b64 [a], %rd1; call (v), vprintf, (a); }\n",
                SG_FAULT_UNSUPPORTED, "a call of vprintf, which the module does not define");
}

/* Two results, an array of bytes, two calls of the same function from two places, and no parameters at all. */
static const char parameters[] = PTX_HEAD
    ".global .align 4 .u32 calls;\n"
    ".weak .func count()\n{ .reg .b32 %r<2>; .reg .b64 %rd<2>; mov.u64 %rd1, calls; red.global.add.u32 [%rd1], 1; ret; "
    "}\n"
    ".func (.param .b64 q, .param .align 4 .b8 s[8]) mix(.param .align 8 .b8 a[24], .param .b16 h)\n"
    "{ .reg .b16 %h<2>; .reg .b32 %r<5>; .reg .b64 %rd<5>;\n"
    "ld.param.u64 %rd1, [a]; ld.param.u32 %r1, [a+8]; ld.param.u32 %r2, [a+20]; ld.param.u16 %h1, [h];\n"
    "cvt.u64.u16 %rd2, %h1; mul.lo.u64 %rd1, %rd1, %rd2; st.param.b64 [q], %rd1; add.u32 %r3, %r1, %r2;\n"
    "sub.u32 %r4, %r1, %r2; st.param.b32 [s], %r3; st.param.b32 [s+4], %r4; call.uni count; ret; }\n"
    ".visible .entry k(.param .u64 out)\n"
    "{ .reg .pred %p<2>; .reg .b16 %h<3>; .reg .b32 %r<9>; .reg .b64 %rd<9>; ld.param.u64 %rd1, [out];\n"
    "mov.u32 %r1, %tid.x; mul.wide.u32 %rd2, %r1, 32; add.u64 %rd2, %rd1, %rd2; cvt.u64.u32 %rd3, %r1;\n"
    "add.u64 %rd4, %rd3, 0x100000000; mul.lo.u32 %r2, %r1, 10; mul.lo.u32 %r3, %r1, 3; setp.gt.u32 %p1, %r1, 20;\n"
    "mov.u16 %h1, 5; mov.u16 %h2, 9; @%p1 bra OTHER;\n"
    "{ .param .align 8 .b8 a[24]; .param .b16 h; .param .b64 q; .param .align 4 .b8 s[8]; st.param.b64 [a], %rd4;\n"
    "st.param.b32 [a+8], %r2; st.param.b32 [a+20], %r3; st.param.b16 [h], %h1; call.uni (q, s), mix, (a, h);\n"
    "ld.param.b64 %rd5, [q]; ld.param.b32 %r4, [s]; ld.param.b32 %r5, [s+4]; } bra STORE;\n"
    "OTHER: { .param .align 8 .b8 a[24]; .param .b16 h; .param .b64 q; .param .align 4 .b8 s[8];\n"
    "st.param.b64 [a], %rd3; st.param.b32 [a+8], %r3; st.param.b32 [a+20], %r2; st.param.b16 [h], %h2;\n"
    "call (q, s), mix, (a, h); ld.param.b64 %rd5, [q]; ld.param.b32 %r4, [s]; ld.param.b32 %r5, [s+4]; }\n"
    "STORE: st.global.u64 [%rd2], %rd5; st.global.v2.u32 [%rd2+8], {%r4, %r5}; mov.u64 %rd6, calls;\n"
    "bar.sync 0; ld.global.u32 %r6, [%rd6]; st.global.u32 [%rd2+16], %r6; ret; }\n";

static void test_parameters(void **state) {
    (void)state;
    struct world w;
    world_open(&w, parameters);
    bind_variables(&w);
    uint64_t *out = world_alloc(&w, 32 * 32);
    world_run_good(&w, &out);
    for (uint32_t k = 0; k < 32; k++) {
        const uint32_t sum = 13 * k, difference = k > 20 ? 0u - 7 * k : 7 * k;
        assert_int_equal(out[4 * k], k > 20 ? 9ull * k : 5 * (k + 0x100000000ull));
        assert_int_equal(out[4 * k + 1], sum | (uint64_t)difference << 32);
        assert_int_equal((uint32_t)out[4 * k + 2], 32); /* every lane counted itself once */
    }
    world_close(&w);
}

static void test_wrong_text(void **state) {
    (void)state;
    static const struct {
        const char *body, *error;
    } wrong[] = {
        {"call nowhere;", "the callee nowhere is not declared"},
        {"call 7;", "the callee 7 is not declared"},
        {"call twice, (%r1);", "argument %r1 of a call is not a .param variable"},
        {"call (v), twice, (v;", "expected ')' before ';'"},
        {"call (v, twice, (v);", "argument twice of a call is not a .param variable"},
        {"call (v) twice, (v);", "expected ',' before 'twice'"},
        {"call (7), twice, (v);", "argument 7 of a call is not a .param variable"},
        {"call (v), twice, (v) P;", "expected ';' before 'P'"},
        {"P: .callprototype _ (.param .b32 _); bra P;", "label P is not defined"},
        {"P: .calltargets twice; bra P;", "label P is not defined"},
        {"LABEL: .callprototype (.param .b32 _) _", "expected ';' before ''"},
    };
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        char error[512];
        struct str ptx = {0};
        str_printf(&ptx, "%s%s.visible .entry k()\n{ .reg .b32 %%r<4>; .param .b32 v;\n%s", PTX_HEAD, FUNCTIONS,
                   wrong[k].body);
        str_append(&ptx, k + 1 == sizeof wrong / sizeof *wrong ? "" : "\nret; }\n");
        assert_null(sg_module_parse(ptx.data, ptx.length, error, sizeof error));
        if (!strstr(error, wrong[k].error))
            fail_msg("'%s' gives '%s', not '%s'", wrong[k].body, error, wrong[k].error);
        str_release(&ptx);
    }
    struct str ptx = {0};
    char error[512];
    str_printf(&ptx, "%s%s.visible .entry k()\n{ .param .b32 v; call twice, (v", PTX_HEAD, FUNCTIONS);
    for (int k = 0; k < 63; k++)
        str_append(&ptx, ", v");
    struct str more = {0};
    str_printf(&more, "%s, v); ret; }\n", ptx.data);
    str_append(&ptx, "); ret; }\n");
    struct sg_module *m = sg_module_parse(ptx.data, ptx.length, error, sizeof error);
    assert_non_null(m);
    sg_module_free(m);
    assert_null(sg_module_parse(more.data, more.length, error, sizeof error));
    assert_non_null(strstr(error, "a call with more than 64 arguments"));
    str_release(&ptx);
    str_release(&more);
}

/* ---- printf and assert ---- */

/* The string's bytes as an initialiser. */
static void put_string(struct str *ptx, const char *name, const char *text) {
    str_printf(ptx, ".global .align 1 .b8 %s[%zu] = {", name, strlen(text) + 1);
    for (const char *c = text;; c++) {
        str_printf(ptx, "%s%d", c == text ? "" : ", ", (unsigned char)*c);
        if (!*c)
            break;
    }
    str_append(ptx, "};\n");
}

/* printf(format, …) by threads below 2; `stores` puts the arguments into %SP (a generic address), %r1 is the thread. */
static void build_printf(struct str *ptx, const char *format, const char *stores) {
    str_append(ptx, PTX_HEAD);
    str_append(ptx, ".extern .func (.param .b32 r) vprintf(.param .b64 f, .param .b64 a);\n");
    put_string(ptx, "format", format);
    put_string(ptx, "word", "pears");
    str_printf(
        ptx,
        ".visible .entry k(.param .u64 out)\n{ .local .align 8 .b8 depot[64]; .reg .b64 %%SP;\n"
        ".reg .pred %%p<2>; .reg .b32 %%r<9>; .reg .b64 %%rd<9>; mov.u64 %%rd1, depot; cvta.local.u64 %%SP, %%rd1;\n"
        "mov.u32 %%r1, %%tid.x; ld.param.u64 %%rd5, [out]; mul.wide.u32 %%rd6, %%r1, 4; add.u64 %%rd5, %%rd5, %%rd6;\n"
        "setp.gt.u32 %%p1, %%r1, 1; @%%p1 bra END; mov.u64 %%rd2, format; cvta.global.u64 %%rd2, %%rd2;\n"
        "mov.u64 %%rd3, word; cvta.global.u64 %%rd3, %%rd3; %s\n"
        "{ .param .b64 f; .param .b64 a; .param .b32 v; st.param.b64 [f], %%rd2; st.param.b64 [a], %%SP;\n"
        "call.uni (v), vprintf, (f, a); ld.param.b32 %%r2, [v]; } st.global.u32 [%%rd5], %%r2;\nEND: ret; }\n",
        stores);
}

/* What the kernel wrote to standard output, and what printf returned to thread 0. */
static int32_t run_printf(const char *format, const char *stores, char *text, size_t size) {
    struct str ptx = {0};
    struct world w;
    build_printf(&ptx, format, stores);
    world_open(&w, ptx.data);
    str_release(&ptx);
    bind_variables(&w);
    int32_t *out = world_alloc(&w, 128);
    struct capture capture;
    capture_begin(&capture, STDOUT_FILENO);
    const bool good = world_run(&w, &out);
    capture_end(&capture, text, size);
    if (!good)
        fail_msg("%s", w.fault.text);
    const int32_t result = out[0];
    world_close(&w);
    return result;
}

static void check_printf(const char *format, const char *stores, const char *want) {
    char got[2048];
    assert_int_equal(run_printf(format, stores, got, sizeof got), 0);
    if (strcmp(got, want) != 0)
        fail_msg("\"%s\" prints \"%s\", not \"%s\"", format, got, want);
}

static void test_printf(void **state) {
    (void)state;
    check_printf("plain\n", "", "plain\nplain\n");
    check_printf("100%%|%5d|%-4u|%x|%o.",
                 "st.u32 [%SP], -17; st.u32 [%SP+4], 4294967295; st.u32 [%SP+8], 48879; st.u32 [%SP+12], 8;",
                 "100%|  -17|4294967295|beef|10.100%|  -17|4294967295|beef|10.");
    check_printf("%d%i%c,", "st.u32 [%SP], %r1; st.u32 [%SP+4], -1; add.u32 %r3, %r1, 65; st.u32 [%SP+8], %r3;",
                 "0-1A,1-1B,");
    check_printf("[%8s|%-8s|%.2s]", "st.u64 [%SP], %rd3; st.u64 [%SP+8], %rd3; st.u64 [%SP+16], %rd3;",
                 "[   pears|pears   |pe][   pears|pears   |pe]");
    /* an 8-byte argument behind a 4-byte one is aligned, and a 4-byte one follows it at once */
    check_printf(
        "%d %lld %d %lu;",
        "st.u32 [%SP], 1; st.u64 [%SP+8], -5000000000; st.u32 [%SP+16], 3; st.u64 [%SP+24], 18446744073709551615;",
        "1 -5000000000 3 18446744073709551615;1 -5000000000 3 18446744073709551615;");
    check_printf("%f %7.3f %e %g;",
                 "st.f64 [%SP], 0d3FF8000000000000; st.f64 [%SP+8], 0dC00921FB54442D18; st.f64 [%SP+16], "
                 "0d40F86A0000000000; st.f64 [%SP+24], 0d3FE0000000000000;",
                 "1.500000  -3.142 1.000000e+05 0.5;1.500000  -3.142 1.000000e+05 0.5;");
    check_printf("%A|%G|%F|%E",
                 "st.f64 [%SP], 0d3FF0000000000000; st.f64 [%SP+8], 0d3FF0000000000000; st.f64 [%SP+16], "
                 "0d3FF0000000000000; st.f64 [%SP+24], 0d3FF0000000000000;",
                 "0X1P+0|1|1.000000|1.000000E+000X1P+0|1|1.000000|1.000000E+00");
    check_printf("%+d % d %05d %#X %hd %hhu;",
                 "st.u32 [%SP], 5; st.u32 [%SP+4], 6; st.u32 [%SP+8], 42; st.u32 [%SP+12], 255; st.u32 [%SP+16], "
                 "65543; st.u32 [%SP+20], 259;",
                 "+5  6 00042 0XFF 7 3;+5  6 00042 0XFF 7 3;");
    check_printf("%p %zu %jd %lX;",
                 "mov.u64 %rd4, 4096; st.u64 [%SP], %rd4; st.u64 [%SP+8], %rd4; st.u64 [%SP+16], -1; st.u64 [%SP+24], "
                 "0xABCDEF0123;",
                 "0x1000 4096 -1 ABCDEF0123;0x1000 4096 -1 ABCDEF0123;");
    check_printf("%td %qd %Lf %ls;",
                 "st.u64 [%SP], -3; st.u64 [%SP+8], 7000000000; st.f64 [%SP+16], 0d3FF8000000000000; "
                 "st.u64 [%SP+24], %rd3;",
                 "-3 7000000000 1.500000 pears;-3 7000000000 1.500000 pears;");
    check_printf("%hhd %hi %hx;", "st.u32 [%SP], 255; st.u32 [%SP+4], 65535; st.u32 [%SP+8], 0x1fffe;",
                 "-1 -1 fffe;-1 -1 fffe;");
}

/* What is no format of printf ends the text and is reported, and a string may be of any length. */
static void test_odd_formats(void **state) {
    (void)state;
    char got[2048];
    assert_int_equal(run_printf("<%d%n>", "st.u32 [%SP], 9;", got, sizeof got), -1);
    assert_string_equal(got, "<9<9");
    assert_int_equal(run_printf("<%", "", got, sizeof got), -1);
    assert_string_equal(got, "<<");
    assert_int_equal(run_printf("<%12345678901234567890123456789012345678901234567890d>", "", got, sizeof got), -1);
    assert_string_equal(got, "<<");
    char format[700];
    memset(format, 'x', sizeof format - 1);
    format[sizeof format - 1] = '\0';
    assert_int_equal(run_printf(format, "", got, sizeof got), 0);
    assert_int_equal(strlen(got), 2 * strlen(format));
    assert_int_equal(run_printf("%600s|", "st.u64 [%SP], %rd3;", got, sizeof got), 0);
    assert_int_equal(strlen(got), 2 * 601);
    assert_memory_equal(got + 595, "pears|", 6);
}

/* A pointer that is none. */
static void test_printf_faults(void **state) {
    (void)state;
    static const struct {
        const char *format, *stores, *text;
    } cases[] = {{"%s", "st.u64 [%SP], 64;", "'call.uni (v), vprintf, (f, a)'"},
                 {"%d", "add.u64 %SP, %SP, 4096;", "'call.uni (v), vprintf, (f, a)'"},
                 {"plain", "mov.u64 %rd2, 64;", "'call.uni (v), vprintf, (f, a)'"}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct str ptx = {0};
        struct world w;
        build_printf(&ptx, cases[k].format, cases[k].stores);
        world_open(&w, ptx.data);
        bind_variables(&w);
        int32_t *out = world_alloc(&w, 128);
        world_run_bad(&w, &out, SG_FAULT_OUT_OF_BOUNDS, cases[k].text);
        world_close(&w);
        str_release(&ptx);
    }
}

static void build_assert(struct str *ptx, const char *count) {
    str_append(ptx, PTX_HEAD);
    str_append(ptx, ".extern .func __assertfail(.param .b64 m, .param .b64 f, .param .b32 l, .param .b64 n, .param "
                    ".b64 s) .noreturn;\n");
    put_string(ptx, "message", "k < n");
    put_string(ptx, "file", "pears.cu");
    put_string(ptx, "function", "void pick(int)");
    str_printf(
        ptx,
        ".visible .entry k()\n{ .reg .pred %%p<2>; .reg .b32 %%r<9>; .reg .b64 %%rd<9>; mov.u32 %%r1, %%tid.x;\n"
        "setp.ne.u32 %%p1, %%r1, 13; @%%p1 ret; mov.u64 %%rd1, message; cvta.global.u64 %%rd1, %%rd1;\n"
        "mov.u64 %%rd2, file; cvta.global.u64 %%rd2, %%rd2; mov.u64 %%rd3, function; cvta.global.u64 %%rd3, %%rd3;\n"
        "{ .param .b64 m; .param .b64 f; .param .b32 l; .param .b64 n; .param .b64 s; st.param.b64 [m], %%rd1;\n"
        "st.param.b64 [f], %%rd2; st.param.b32 [l], 77; st.param.b64 [n], %%rd3; st.param.b64 [s], 1;\n"
        "call.uni __assertfail, (m, f, l, n%s); } ret; }\n",
        count);
}

static void test_assert(void **state) {
    (void)state;
    for (int wrong = 0; wrong < 2; wrong++) {
        struct str ptx = {0};
        struct world w;
        build_assert(&ptx, wrong ? "" : ", s");
        world_open(&w, ptx.data);
        bind_variables(&w);
        if (wrong)
            world_run_bad(&w, NULL, SG_FAULT_UNSUPPORTED, "a call of __assertfail, which the module does not define");
        else
            world_run_bad(&w, NULL, SG_FAULT_ASSERT,
                          "lane 13, PTX line 14 'call.uni __assertfail, (m, f, l, n, s)': assertion 'k < n' failed in "
                          "void pick(int), pears.cu:77");
        world_close(&w);
        str_release(&ptx);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_indirect),      cmocka_unit_test(test_wrong_calls), cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_wrong_text),    cmocka_unit_test(test_printf),      cmocka_unit_test(test_odd_formats),
        cmocka_unit_test(test_printf_faults), cmocka_unit_test(test_assert),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
