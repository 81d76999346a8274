/* What a text may ask for has limits: one beyond each is a sentence, and never a number that was cut off. */
#include "runtime/base/str.h"
#include "runtime/softgpu/ptx/module.h"
#include "world.h"

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

static void operands(void **state) {
    (void)state;
    static const struct {
        const char *body, *sentence;
    } list[] = {
        {"cvt.s32.s32.s32.s32.s32 %r1, %r2;", "too many types"},
        {"setp.lt.u32 %p1|%p2|%p3, %r1, %r2;", "too many destinations"},
        {"lop3.b32 %r1, %r2, %r2, %r2, %r2, %r2, %r2, %r2;", "too many operands"},
        {"cp.async.bulk.tensor.1d.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], 0, 0, 0, 0, [%d1, {%r2}];",
         "too many operands"},
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
        expect_refused(kernel(body.data),
                       elements == 255 ? "mov.b64: this combination" : "a vector operand of more than 255 elements");
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
        {".global .b8 x[4294967296] = {1};", "x has 4294967296 bytes: with an initialiser"},
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operands),  cmocka_unit_test(vectors_and_arguments), cmocka_unit_test(numbers),
        cmocka_unit_test(variables), cmocka_unit_test(bounds_of_kernels),     cmocka_unit_test(registers),
        cmocka_unit_test(banks),     cmocka_unit_test(text_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
