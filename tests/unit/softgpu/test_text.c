/* The PTX text itself: directives, comments, variables with their initialisers, and what is said of a text that is
 * wrong, with its line. */
#include "runtime/base/str.h"
#include "world.h"

static struct sg_module *parse(const char *text, char error[512]) {
    error[0] = '\0';
    return sg_module_parse(text, strlen(text), error, 512);
}

/* ---- what is read over, and what is kept ---- */

static const char directives[] =
    "// a line\n.version 8.0 /* the\nversion */\n.target sm_80, texmode_independent\n.address_size 64\n"
    ".file 1 \"k.cu\", 1700000000, 1234\n.section .debug_abbrev\n{\n.b8 1, 2\n}\n.pragma \"one; two\";\n"
    ".global .attribute(.managed) .align 16 .b8 held[3], other[2][5];\n/**/ /*/ one /*/\n"
    ".visible .func (.param .b32 r) later(.param .b32 x);\n"
    ".weak .entry k(.param .u64 .ptr .global .align 1 out, .param .align 16 .b8 s[20], .param .u8 t, .param .f32 "
    "v[3])\n"
    ".reqntid 64, 2\n.minnctapersm 5\n.maxnreg 32\n.maxnctapersm 7\n.maxclusterrank 8\n.pragma \"nounroll\";\n"
    ".explicitcluster\n.reqnctapercluster 4\n.blocksareclusters\n{\n"
    ".loc 1 5 9, function_name $L__info, inlined_at 1 2 3\n.reg .b32 %r<9>, lone; .reg .b64 %rd<4>; .reg .pred %p;\n"
    ".section .debug_str { L: .b8 1 }\n.pragma \"used_bytes_mask 7\";\nld.param.u64 %rd1, [out]; mov.u32 %r1, %tid.x;\n"
    "mul.wide.u32 %rd2, %r1, 4; add.u64 %rd1, %rd1, %rd2; ld.param.b32 %r2, [s+16]; ld.param.u8 %r3, [t];\n"
    "ld.param.u32 %r4, [v+8]; add.u32 lone, %r2, %r3; { .param .b32 a; .param .b32 b; st.param.b32 [a], lone;\n"
    "call.uni (b), later, (a); ld.param.b32 lone, [b]; } add.u32 lone, lone, %r4; st.global.u32 [%rd1], lone; ret;\n}\n"
    ".func (.param .b32 r) later(.param .b32 x)\n.noreturn\n"
    "{ .reg .b32 %r<3>; ld.param.b32 %r1, [x]; shl.b32 %r1, %r1, 8; st.param.b32 [r], %r1; ret; }\n"
    ".alias k2, k;\n.entry second() { ret; }\n";

static void test_directives(void **state) {
    (void)state;
    struct world w;
    struct sg_function_info info;
    world_open(&w, directives);
    assert_int_equal(sg_module_function_count(w.module), 2);
    assert_string_equal(sg_module_function_name(w.module, 0), "k");
    assert_string_equal(sg_module_function_name(w.module, 1), "second");
    assert_null(sg_module_function(w.module, "later")); /* a .func */
    assert_null(sg_module_function(w.module, "k2"));
    sg_function_describe(w.launch.function, &info);
    static const uint32_t offsets[] = {0, 16, 36, 40}, sizes[] = {8, 20, 1, 12};
    assert_int_equal(info.param_count, 4);
    assert_memory_equal(info.param_offset, offsets, sizeof offsets);
    assert_memory_equal(info.param_size, sizes, sizeof sizes);
    assert_int_equal(info.param_bytes, 52);
    assert_int_equal(info.max_threads, 128);
    assert_int_equal(info.min_ctas_per_sm, 5);
    assert_int_equal(info.cluster[0], 4);
    assert_int_equal(info.cluster[1], 1);
    assert_int_equal(info.cluster[2], 1);
    assert_int_equal(sg_module_variable_count(w.module), 2);
    size_t size, align;
    const void *init;
    assert_string_equal(sg_module_variable(w.module, 1, &size, &align, &init), "other");
    assert_int_equal(size, 10);
    assert_int_equal(align, 16);
    assert_null(init);
    assert_false(sg_module_variable_named(w.module, 0));
    for (int k = 0; k < 2; k++)
        sg_module_variable_bind(w.module, k, (uintptr_t)world_alloc(&w, 16));
    sg_module_link(w.module);
    uint32_t *out = world_alloc(&w, 128 * 4);
    uint8_t params[52] = {0};
    memcpy(params, &out, 8);
    memcpy(params + 32, (uint32_t[]){0x1000}, 4);
    params[36] = 0x22;
    memcpy(params + 48, (uint32_t[]){7}, 4);
    w.launch.grid[0] = w.launch.cluster[0] = 4;
    world_run_good(&w, params);
    for (int k = 0; k < 32; k++)
        assert_int_equal(out[k], 0x102207);
    world_close(&w);
}

/* ---- initialisers ---- */

static const char variables[] =
    ".version 8.0\n.target sm_80\n.address_size 64\n"
    ".global .u8 bytes[6] = {1, -2, 0x7f};\n"
    ".global .s16 halves[2][3] = {{1, 2, 3}, {-4, 05, 0b11}};\n"
    ".const .align 4 .f32 floats[4] = {1.5, -2.0, 0f40490FDB, 1e3};\n"
    ".global .f64 doubles[3] = {0.1, -0d3FF8000000000000, 0f3F800000};\n"
    ".global .u32 one = 77U, two = 78;\n"
    ".global .u64 wide[2] = {0x123456789abcdef0, -1};\n"
    ".global .u64 pointers[4] = {bytes, generic(bytes)+2, wide+8, 0};\n"
    ".global .u8 pieces[8] = {0xff(wide), 0xff00(wide), 0xff0000(wide), 0xff000000(wide), 0xff00000000(wide),\n"
    "0xff0000000000(wide), 0xff000000000000(wide), 0xff00000000000000(wide)};\n"
    ".global .u32 low = 0xffffffff(generic(wide)+16);\n"
    ".func f() { ret; }\n.func g() { ret; }\n"
    ".global .u64 table[2] = {g, f};\n"
    ".entry k() { ret; }\n";

static void test_initialisers(void **state) {
    (void)state;
    struct world w;
    world_open(&w, variables);
    enum { COUNT = 11 };
    static const char *const names[COUNT] = {"bytes", "halves",   "floats", "doubles", "one",  "two",
                                             "wide",  "pointers", "pieces", "low",     "table"};
    static const size_t sizes[COUNT] = {6, 12, 16, 24, 4, 4, 16, 32, 8, 4, 16};
    uint8_t *at[COUNT];
    assert_int_equal(sg_module_variable_count(w.module), COUNT);
    for (int k = COUNT - 1; k >= 0; k--) { /* the last first: pointers find what is bound after them */
        size_t size, align;
        const void *init;
        assert_string_equal(sg_module_variable(w.module, k, &size, &align, &init), names[k]);
        assert_int_equal(size, sizes[k]);
        assert_non_null(init);
        at[k] = world_alloc(&w, size);
        memcpy(at[k], init, size);
        sg_module_variable_bind(w.module, k, (uintptr_t)at[k]);
    }
    sg_module_link(w.module);
    assert_memory_equal(at[0], "\1\xfe\x7f\0\0\0", 6);
    assert_memory_equal(at[1], ((int16_t[]){1, 2, 3, -4, 5, 3}), 12);
    assert_memory_equal(at[2], ((float[]){1.5f, -2, 3.14159274f, 1000}), 16);
    assert_memory_equal(at[3], ((double[]){0.1, -1.5, 1}), 24);
    assert_memory_equal(at[4], ((uint32_t[]){77}), 4);
    assert_memory_equal(at[5], ((uint32_t[]){78}), 4);
    assert_memory_equal(at[6], ((uint64_t[]){0x123456789abcdef0, ~0ull}), 16);
    const uint64_t bytes = (uintptr_t)at[0], wide = (uintptr_t)at[6];
    assert_memory_equal(at[7], ((uint64_t[]){bytes, bytes + 2, wide + 8, 0}), 32);
    assert_memory_equal(at[8], &wide, 8);
    assert_memory_equal(at[9], ((uint32_t[]){(uint32_t)(wide + 16)}), 4);
    assert_memory_equal(at[10], ((uint64_t[]){32, 16}), 16); /* the second and the first function */
    assert_true(sg_module_variable_named(w.module, 0));      /* by another variable */
    assert_false(sg_module_variable_named(w.module, 4));
    world_close(&w);
}

/* ---- errors ---- */

#define HEAD ".version 8.0\n.target sm_80\n"
#define BODY HEAD ".entry k(.param .u64 p)\n{\n"

static bool is_refused(const char *text, const char *want) {
    char error[512];
    struct sg_module *m = parse(text, error);
    if (m && sg_module_lacks(m, 0))
        snprintf(error, sizeof error, "%s", sg_module_lacks(m, 0));
    const bool good = *error && strcmp(error, want) == 0;
    if (!good)
        print_error("'%s' gives '%s', not '%s'\n", text, error, want);
    sg_module_free(m);
    return good;
}

static void test_errors(void **state) {
    (void)state;
    static const struct {
        const char *text, *error;
    } wrong[] = {
        {HEAD ".nonsense\n", "PTX line 3: unknown directive .nonsense"},
        {HEAD "entry k() { ret; }\n", "PTX line 3: unknown directive entry"},
        {HEAD ".entry () { ret; }\n", "PTX line 3: the name of a function is missing"},
        {HEAD ".entry k(.reg .u32 a) { ret; }\n", "PTX line 3: function parameters in registers are not supported"},
        {HEAD ".entry k(.param .u33 a) { ret; }\n", "PTX line 3: unknown type .u33 of a parameter"},
        {HEAD ".entry k(.param a) { ret; }\n", "PTX line 3: a parameter without type or name"},
        {HEAD ".entry k(.param .u32) { ret; }\n", "PTX line 3: a parameter without type or name"},
        {HEAD ".entry k(.param .pred a) { ret; }\n", "PTX line 3: a parameter without type or name"},
        {HEAD ".entry k(.param .align .b8 a) { ret; }\n", "PTX line 3: expected a number before '.b8'"},
        {HEAD ".entry k(.param .b8 a[n]) { ret; }\n", "PTX line 3: expected a number before 'n'"},
        {HEAD ".entry k(.param .b8 a[4) { ret; }\n", "PTX line 3: expected ']' before ')'"},
        {HEAD ".entry k(.param .b8 a .param .b8 b) { ret; }\n", "PTX line 3: expected ')' before '.param'"},
        {HEAD ".entry k()\n.maxntid x { ret; }\n", "PTX line 4: expected a number before 'x'"},
        {HEAD ".entry k()\n.reqnctapercluster 2, x { ret; }\n", "PTX line 4: expected a number before 'x'"},
        {HEAD ".entry k()\n.minnctapersm { ret; }\n", "PTX line 4: expected a number before '{'"},
        {HEAD ".entry k()\n.maxnreg { ret; }\n", "PTX line 4: expected a number before '{'"},
        {HEAD ".entry k()\n.unheard { ret; }\n", "PTX line 4: unknown function directive .unheard"},
        {HEAD ".entry k()\n.pragma \"x\" { ret; }\n", "PTX line 4: expected '{' before '}'"},
        {HEAD ".entry k()\nret;\n", "PTX line 4: expected '{' before 'ret'"},
        {BODY ".reg .b33 %r; }\n", "PTX line 5: unknown register type .b33"},
        {BODY ".reg %r; }\n", "PTX line 5: unknown register type %r"},
        {BODY ".reg .b32 7; }\n", "PTX line 5: the name of a register is missing"},
        {BODY ".reg .b32 %r<n>; }\n", "PTX line 5: expected a number before 'n'"},
        {BODY ".reg .b32 %r<5; }\n", "PTX line 5: expected '>' before ';'"},
        {BODY ".reg .b32 %r<2097153>; }\n",
         "PTX line 5: 2097153 registers more than the 1 before are too many: a function has at most 2097152"},
        {BODY ".reg .b32 %r<-1>; }\n",
         "PTX line 5: -1 registers more than the 1 before are too many: a function has at most 2097152"},
        {BODY ".reg .b32 %r<5> }\n", "PTX line 5: expected ';' before '}'"},
        {BODY ".unheard; }\n", "PTX line 5: unknown directive .unheard"},
        {BODY ".reg .b32 %r<3>;\nbra L; }\n", "PTX line 6: label L is not defined"},
        {BODY "{ L: ret; }\nbra L; }\n", "PTX line 6: label L is not defined"},
        {BODY ".reg .b32 %r<3>;\nT: .branchtargets A, B; A: brx.idx %r1, T; ret; }\n",
         "PTX line 6: label B is not defined"},
        {BODY ".reg .b32 %r<3>; mov.u32 %r1, L; L: ret; }\n", "PTX line 5: L is not declared"},
        {BODY ".reg .b32 %r<3>; L: mov.u32 %r1, L; ret; }\n", "PTX line 5: L cannot be an operand here"},
        {BODY ".reg .b32 %r<3>; { .reg .b32 %x; } mov.u32 %r1, %x; ret; }\n", "PTX line 5: unknown register %x"},
        {BODY "/* a\nb */ .pragma \"x\ny\"; frob;\n}\n", "PTX line 7: unknown instruction 'frob'"},
        {BODY ".loc 1 2 3\n// frob\nfrob;\n}\n", "PTX line 7: unknown instruction 'frob'"},
        {BODY ".reg .b32 %r<3>; add.u8   %r1,\n\t%r2,  %r1; }\n",
         "PTX line 5: add.u8: this combination of types and modifiers is not known in 'add.u8 %r1, %r2, %r1'"},
        {BODY "ret; \n", "PTX line 6: unknown instruction ''"},
        {BODY "ret? }\n", "PTX line 5: unknown operand '?'"},
        {HEAD ".global .b32;\n", "PTX line 3: the name of a variable is missing"},
        {HEAD ".global a;\n", "PTX line 3: a variable without a type"},
        {HEAD ".global .pred a;\n", "PTX line 3: unknown type or attribute .pred of a variable"},
        {HEAD ".global .fast .u32 a;\n", "PTX line 3: unknown type or attribute .fast of a variable"},
        {HEAD ".global .align x .u32 a;\n", "PTX line 3: expected a number before 'x'"},
        {HEAD ".global .u32 a[x];\n", "PTX line 3: expected a number before 'x'"},
        {HEAD ".global .u32 a[3;\n", "PTX line 3: expected ']' before ';'"},
        {HEAD ".global .u32 a b;\n", "PTX line 3: expected ';' before 'b'"},
        {HEAD ".extern .global .u32 a;\n", "PTX line 3: external variable a: linking modules is not supported"},
        {HEAD ".local .u32 a;\n", "PTX line 3: unknown directive .local"},
        {HEAD ".global .u32 a[2] = {1, 2, 3};\n", "PTX line 3: too many initialisers for a"},
        {HEAD ".global .u32 a[2] = {1, 2;\n", "PTX line 3: a brace of the initialiser of a is not closed"},
        {HEAD ".global .u64 a = b;\n", "PTX line 3: initialiser b is nothing declared before"},
        {HEAD ".shared .u64 b;\n.global .u64 a = b;\n", "PTX line 4: initialiser b is nothing declared before"},
        {HEAD ".global .u64 b;\n.global .u64 a = generic b;\n", "PTX line 4: expected '(' before 'b'"},
        {HEAD ".global .u64 b;\n.global .u64 a = generic(b;\n", "PTX line 4: expected ')' before ';'"},
        {HEAD ".global .u64 b;\n.global .u64 a = b+c;\n", "PTX line 4: expected a number before 'c'"},
        {HEAD ".global .u64 b;\n.global .u8 a = 0xff(b;\n", "PTX line 4: expected ')' before ';'"},
        {HEAD ".global .u64 a = ;\n", "PTX line 3: unknown initialiser ;"},
        {HEAD ".global .u64 a = \"x\";\n", "PTX line 3: unknown initialiser \"x\""},
    };
    int failed = 0;
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++)
        failed += !is_refused(wrong[k].text, wrong[k].error);
    assert_int_equal(failed, 0);
}

/* Labels, callees and functions that are not what they are used as. */
static void test_references(void **state) {
    (void)state;
    static const struct {
        const char *text, *error;
    } wrong[] = {
        {BODY "L: .branchtargets L; bra L; }\n", "PTX line 5: label L is not defined"},
        {BODY ".reg .b32 %r<3>; M: N: .branchtargets M; brx.idx %r1, M; }\n",
         "PTX line 5: list of branch targets M is not defined"},
        {BODY "L: .branchtargets M; M: .branchtargets L; ret; }\n", "PTX line 5: label M is not defined"},
        {BODY ".reg .b32 %r<3>; call %r1, (); }\n", "PTX line 5: the callee %r1 is not in a register of 64 bits"},
        {BODY ".reg .pred %p; call %p, (); }\n", "PTX line 5: the callee %p is not in a register of 64 bits"},
        {BODY "ret; }\n.entry k() { ret; }\n", "PTX line 6: k is declared behind its definition"},
        {HEAD ".func g(.param .b8 x[64]) { ret; }\n.func g(.param .b8 x[4]);\n",
         "PTX line 4: g is declared behind its definition"},
        {HEAD ".entry g();\n.func g() { ret; }\n", "PTX line 4: g is declared as .entry and as .func"},
    };
    int failed = 0;
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++)
        failed += !is_refused(wrong[k].text, wrong[k].error);
    assert_int_equal(failed, 0);
}

/* A long sentence is cut at the end of its room. */
static void test_short_room(void **state) {
    (void)state;
    char error[24], text[200];
    snprintf(text, sizeof text, HEAD ".a_directive_that_nobody_has_ever_seen\n");
    assert_null(sg_module_parse(text, strlen(text), error, sizeof error));
    assert_string_equal(error, "PTX line 3: unknown ...");
}

/* Every beginning of a text, and the text without each of its characters: taken, or refused with a line, no more. */
static void test_damaged(void **state) {
    (void)state;
    const char *const texts[] = {directives, variables};
    char error[512];
    int taken = 0;
    for (int t = 0; t < 2; t++)
        for (size_t cut = 0; cut <= strlen(texts[t]); cut++)
            for (int gap = 0; gap < 2; gap++) {
                struct str text = {0};
                str_append_bytes(&text, texts[t], cut);
                str_append(&text, gap && cut < strlen(texts[t]) ? texts[t] + cut + 1 : "");
                struct sg_module *m = parse(str_text(&text), error);
                if (!m && strncmp(error, "PTX line ", 9) != 0)
                    fail_msg("after %zu bytes: '%s'", cut, error);
                taken += m != NULL;
                sg_module_free(m);
                str_release(&text);
            }
    assert_true(taken > 100);
}

/* More constants, variables and registers than fit the first room that is made for them. */
static void test_many(void **state) {
    (void)state;
    enum { MANY = 3000 };
    struct str ptx = {0};
    struct world w;
    str_append(&ptx, PTX_HEAD);
    for (int k = 0; k < 200; k++)
        str_printf(&ptx, ".global .u32 v%d = %d;\n", k, k);
    str_append(&ptx, ".visible .entry k(.param .u64 out)\n{ .reg .b32 %r<3005>; .reg .b64 %rd<3>; mov.u32 %r0, 0;\n");
    for (int k = 1; k <= MANY; k++)
        str_printf(&ptx, "add.u32 %%r%d, %%r%d, %d;\n", k, k - 1, 7 * k);
    str_printf(&ptx, "ld.param.u64 %%rd1, [out]; st.global.u32 [%%rd1], %%r%d; ret; }\n", MANY);
    world_open(&w, ptx.data);
    assert_int_equal(sg_module_variable_count(w.module), 200);
    for (int k = 0; k < 200; k++) {
        size_t size, align;
        const void *init;
        uint32_t value;
        sg_module_variable(w.module, k, &size, &align, &init);
        memcpy(&value, init, 4);
        assert_int_equal(value, k);
    }
    uint32_t *out = world_alloc(&w, 4);
    world_run_good(&w, &out);
    assert_int_equal(*out, 7u * MANY * (MANY + 1) / 2);
    world_close(&w);
    str_release(&ptx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_directives), cmocka_unit_test(test_initialisers), cmocka_unit_test(test_errors),
        cmocka_unit_test(test_references), cmocka_unit_test(test_short_room),   cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
