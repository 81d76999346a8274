/* Modules load in time that grows as their text does, whatever it has many of. What takes longer per piece the more
 * there are would need minutes of processor time here, and takes well below a second. */
#include "driver.h"

#include "runtime/base/str.h"
#include "runtime/softgpu/machine/machine.h"

#include <sys/resource.h>
#include <time.h>

enum { KERNELS = 8000, MANY = 100000 };
#if defined(__SANITIZE_ADDRESS__)
enum { SECONDS = 30 };
#else
enum { SECONDS = 4 }; /* of processor time */
#endif

#define HEAD ".version 8.0\n.target sm_80\n.address_size 64\n"

static double processor_time(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void check_time(const char *what, double begin) {
    const double seconds = processor_time() - begin;
    print_message("%-10s %.3f s\n", what, seconds);
    if (seconds > SECONDS)
        fail_msg("%s: %.1f s of processor time", what, seconds);
}

/* ---- texts with many of something ---- */

typedef void write_fn(struct str *text);

static void write_functions(struct str *text) {
    for (int k = 0; k < MANY / 4; k++)
        str_printf(
            text,
            ".func (.param .b32 r) f%d(.param .b32 a) { .reg .b32 %%r<3>; .shared .b32 s; ld.param.b32 %%r1, [a];"
            " st.shared.u32 [s], %%r1; st.param.b32 [r], %%r1; ret; }\n",
            k);
    str_append(text,
               ".extern .shared .b8 dyn[];\n.visible .entry k() { .reg .b32 %r<3>; .param .b32 a; .param .b32 b;\n");
    for (int k = 0; k < MANY / 4; k++)
        str_printf(text, "{ call (b), f%d, (a); }\n", k);
    str_append(text, "st.shared.u32 [dyn], %r1; ret; }\n");
}

static void write_globals(struct str *text) {
    str_append(text, ".global .b64 g0;\n");
    for (int k = 1; k < MANY; k++)
        str_printf(text, ".global .b64 g%d = g%d;\n", k, k - 1);
    str_append(text, ".visible .entry k() { .reg .b64 %d<3>;\n");
    for (int k = 0; k < MANY; k++)
        str_printf(text, "mov.u64 %%d1, g%d;\n", k);
    str_append(text, "ret; }\n");
}

/* Jumps over everything, with a block of statements behind each. */
static void write_labels(struct str *text) {
    str_append(text, ".visible .entry k() { .reg .pred %p<3>; .reg .b32 %r<3>;\n");
    for (int k = 0; k < MANY; k++)
        str_printf(text, "@%%p1 bra L%d; { add.u32 %%r1, %%r1, 1; }\n", k);
    for (int k = 0; k < MANY; k++)
        str_printf(text, "L%d: add.u32 %%r1, %%r1, 1;\n", k);
    str_append(text, "ret; }\n");
}

/* Each in a few blocks of very many. */
static void write_registers(struct str *text) {
    str_printf(text, ".visible .entry k() { .reg .pred %%p<3>; .reg .b32 %%r<%d>;\n", MANY + 1);
    for (int k = 1; k < MANY; k++)
        str_printf(text, "add.u32 %%r%d, %%r%d, 1; @%%p1 bra L%d; L%d:\n", k + 1, k, k, k);
    str_append(text, "ret; }\n");
}

static void write_names(struct str *text) {
    str_append(text, ".visible .entry k() {\n");
    for (int k = 0; k < MANY; k++)
        str_printf(text, ".reg .b32 x%d; .local .b32 l%d; ld.local.u32 x%d, [l%d];\n", k, k, k, k);
    str_append(text, "ret; }\n");
}

static void write_calls(struct str *text) {
    str_append(text, ".func g(.param .b32 a) { ret; }\n.visible .entry k() { .reg .b32 %r<3>;\n");
    for (int k = 0; k < MANY; k++)
        str_append(text, "{ .param .b32 a; st.param.b32 [a], %r1; call g, (a); }\n");
    str_append(text, "ret; }\n");
}

/* As many branches as targets of each. */
static void write_targets(struct str *text) {
    str_append(text, ".visible .entry k() { .reg .b32 %r<3>;\nT: .branchtargets L0");
    for (int k = 1; k < MANY; k++)
        str_printf(text, ", L%d", k);
    str_append(text, ";\n");
    for (int k = 0; k < MANY; k++)
        str_printf(text, "L%d: brx.idx %%r1, T;\n", k);
    str_append(text, "ret; }\n");
}

/* A pointer that is loaded last and handed on from the last to the first. */
static void write_pointers(struct str *text) {
    str_printf(text, ".visible .entry k() { .reg .b64 %%r<%d>;\n", MANY + 1);
    for (int k = 0; k < MANY; k++)
        str_printf(text, "mov.u64 %%r%d, %%r%d;\n", k, k + 1);
    str_printf(text, "ld.global.u64 %%r%d, [%%r0]; ret; }\n", MANY);
}

/* A name of digits, which may be a register of any range. */
static void write_digits(struct str *text) {
    str_append(text, ".visible .entry k() { .reg .b32 %r<3>; .reg .b32 a");
    for (int k = 0; k < MANY; k++)
        str_append(text, "1");
    str_append(text, "; mov.u32 %r1, a");
    for (int k = 0; k < MANY; k++)
        str_append(text, "1");
    str_append(text, "; ret; }\n");
}

static void texts(void **state) {
    (void)state;
    static const struct {
        const char *what;
        write_fn *write;
    } list[] = {{"functions", write_functions}, {"globals", write_globals},   {"labels", write_labels},
                {"registers", write_registers}, {"names", write_names},       {"calls", write_calls},
                {"targets", write_targets},     {"pointers", write_pointers}, {"digits", write_digits}};
    for (size_t k = 0; k < sizeof list / sizeof *list; k++) {
        struct str text = {0};
        char error[1024] = "";
        struct sg_function_info info;
        str_append(&text, HEAD);
        list[k].write(&text);
        const double begin = processor_time();
        struct sg_module *m = sg_module_parse(text.data, text.length, error, sizeof error);
        if (!m)
            fail_msg("%s: %s", list[k].what, error);
        const int variables = sg_module_variable_count(m);
        uint64_t *memory = calloc((size_t)variables + 1, sizeof *memory);
        for (int v = 0; v < variables; v++)
            sg_module_variable_bind(m, v, (uintptr_t)&memory[v]);
        sg_module_link(m);
        for (int v = 1; v < variables; v++) /* each points to the one before */
            assert_true(memory[v] == (uintptr_t)&memory[v - 1]);
        sg_function_describe(sg_module_function(m, "k"), &info);
        sg_module_free(m);
        check_time(list[k].what, begin);
        free(memory);
        str_release(&text);
    }
}

/* Through the driver: all of them are found, and the last one runs. */
static void kernels(void **state) {
    (void)state;
    CUcontext context;
    CUmodule module;
    CUfunction f;
    CUdeviceptr out, global;
    struct str text = {0};
    uint32_t value = 0;
    size_t size;
    char name[32];
    str_append(&text, HEAD);
    for (int k = 0; k < KERNELS; k++)
        str_printf(&text,
                   ".global .b32 global_%d = %d;\n"
                   ".visible .entry kernel_%d(.param .u64 p)\n{ .reg .b32 %%r<9>; .reg .b64 %%d<5>; .shared .b32 s;\n"
                   "ld.param.u64 %%d1, [p]; ld.global.u32 %%r1, [global_%d]; add.u32 %%r1, %%r1, 1; mov.u32 %%r3, s;\n"
                   "st.shared.u32 [%%r3], %%r1; ld.shared.u32 %%r2, [s]; st.global.u32 [%%d1], %%r2; ret; }\n",
                   k, 3 * k, k, k);
    good(cuInit(0));
    good(cuCtxCreate_v2(&context, 0, 0));
    good(cuMemAlloc_v2(&out, 4));
    const double begin = processor_time();
    good(cuModuleLoadData(&module, text.data));
    for (int k = 0; k < KERNELS; k++) {
        snprintf(name, sizeof name, "kernel_%d", k);
        good(cuModuleGetFunction(&f, module, name));
        snprintf(name, sizeof name, "global_%d", k);
        good(cuModuleGetGlobal_v2(&global, &size, module, name));
        assert_int_equal(size, 4);
    }
    good(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, (void *[]){&out}, NULL));
    good(cuMemcpyDtoH_v2(&value, out, 4));
    assert_int_equal(value, 3 * (KERNELS - 1) + 1);
    good(cuModuleUnload(module));
    check_time("kernels", begin);
    good(cuCtxDestroy_v2(context));
    str_release(&text);
}

static void braces(void **state) {
    (void)state;
    for (int depth = 255; depth <= 256; depth++) {
        struct str text = {0};
        char error[256] = "";
        str_append(&text, HEAD ".visible .entry k() {\n");
        for (int k = 0; k < depth; k++)
            str_append(&text, "{");
        str_append(&text, " ret; ");
        for (int k = 0; k < depth; k++)
            str_append(&text, "}");
        str_append(&text, " }\n");
        struct sg_module *m = sg_module_parse(text.data, text.length, error, sizeof error);
        assert_int_equal(m != NULL, depth == 255);
        assert_string_equal(error, m ? "" : "PTX line 5: more than 256 braces in each other");
        sg_module_free(m);
        str_release(&text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts),
        cmocka_unit_test(kernels),
        cmocka_unit_test(braces),
    };
    setrlimit(RLIMIT_CPU, &(struct rlimit){20 * SECONDS, 20 * SECONDS}); /* rather than hang */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
