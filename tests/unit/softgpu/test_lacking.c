/* What the device does not have: the module loads, its other kernels run, and the launch that comes to it says what
 * it is. Long names in that and other sentences. */
#include "driver.h"

#include "runtime/base/str.h"

static const char kernels[] =
    ".address_size 64\n"
    ".visible .entry whole(.param .u64 px)\n"
    "{ .reg .b32 %r<3>; .reg .b64 %rd<3>; ld.param.u64 %rd1, [px]; mov.u32 %r1, 7; st.global.u32 [%rd1], %r1; ret; }\n"
    ".visible .entry lacking(.param .u64 px, .param .u32 way)\n"
    "{ .reg .pred %p<6>; .reg .b32 %r<9>; .reg .b64 %rd<3>;\n"
    "ld.param.u64 %rd1, [px]; ld.param.u32 %r1, [way];\n"
    "setp.eq.u32 %p1, %r1, 1; setp.eq.u32 %p2, %r1, 2; setp.eq.u32 %p3, %r1, 3; setp.eq.u32 %p4, %r1, 4;\n"
    "@%p1 frobnicate.sync.aligned.u32 {%r2, _}, [%rd1+8], -%r1, 0x10;\n"
    "@%p2 add.odd.u32 %r2, %r1, %r1;\n"
    "@%p3 mov.u32 %r2, %envreg30;\n"
    "@!%p4 bra DONE;\n"
    "wmma.load.a.sync.aligned.row.m16n16k16.shared.f16 {%r2, %r3, %r4, %r5}, [%rd1], %tid.x;\n"
    "DONE: mov.u32 %r2, 9; st.global.u32 [%rd1], %r2; ret; }\n";

struct world {
    CUcontext context;
    CUmodule module;
    CUdeviceptr buffer;
};

static void open_module(struct world *w, const char *text) {
    good(cuInit(0));
    good(cuCtxCreate_v2(&w->context, 0, 0));
    good(cuModuleLoadData(&w->module, text));
    good(cuMemAlloc_v2(&w->buffer, 256));
    good(cuMemsetD8_v2(w->buffer, 0, 256));
}

static CUresult run(const struct world *w, const char *name, uint32_t way) {
    CUfunction f;
    CUdeviceptr buffer = w->buffer;
    void *params[] = {&buffer, &way};
    good(cuModuleGetFunction(&f, w->module, name));
    const CUresult result = cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, 0, NULL, params, NULL);
    return result == CUDA_SUCCESS ? cuCtxSynchronize() : result;
}

static void others_run(void **state) {
    (void)state;
    static const char *const sentences[] = {
        "'@%p1 frobnicate.sync.aligned.u32 {%r2, _}, [%rd1+8], -%r1, 0x10': the software device does not have this "
        "instruction: unknown instruction frobnicate",
        "'@%p2 add.odd.u32 %r2, %r1, %r1': the software device does not have this instruction: unknown modifier .odd "
        "of add",
        "'@%p3 mov.u32 %r2, %envreg30': the software device does not have this instruction: the register %envreg30 is "
        "not "
        "there",
        "wmma.load.a.sync.aligned.row.m16n16k16.shared.f16 {%r2, %r3, %r4, %r5}, [%rd1], %tid.x': the software device "
        "does "
        "not have this instruction: unknown modifier .load of wmma",
    };
    for (uint32_t way = 1; way <= 4; way++) {
        struct world w;
        uint32_t value;
        char sentence[512];
        open_module(&w, ptx_for("sm_80", kernels));
        good(run(&w, "whole", 0));
        good(cuMemcpyDtoH_v2(&value, w.buffer, 4));
        assert_int_equal(value, 7);
        good(run(&w, "lacking", 0)); /* on its way through the others */
        good(cuMemcpyDtoH_v2(&value, w.buffer, 4));
        assert_int_equal(value, 9);
        snprintf(sentence, sizeof sentence, "lacking: CTA (0,0,0), warp 0, PTX line %u ", way < 4 ? 9 + way : 14);
        refused(run(&w, "lacking", way), CUDA_ERROR_NOT_SUPPORTED, sentence);
        good(cuCtxDestroy_v2(w.context));
        open_module(&w, ptx_for("sm_80", kernels));
        refused(run(&w, "lacking", way), CUDA_ERROR_NOT_SUPPORTED, sentences[way - 1]);
        good(cuCtxDestroy_v2(w.context));
    }
}

/* What is not written as an instruction is, or names what is not declared, is refused when it is loaded. */
static void no_instruction(void **state) {
    (void)state;
    static const struct {
        const char *statement, *sentence;
    } list[] = {
        {"frobnicate;", "unknown instruction 'frobnicate'"},
        {"Frobnicate.u32 %r1;", "unknown instruction 'Frobnicate'"},
        {"hello world;", "world is not declared"},
        {"frob.u32 %r1, %r99;", "%r99 is not declared"},
        {"frob.u32 %r1, [%rd1;", "expected ']' before ';'"},
        {"frob.u32 %r1, [%rd1};", "expected ';' before '}'"},
        {"frob.u32 %r1, %rd1];", "expected ';' before ']'"},
        {"frob.u32 %r1, ((((((((%r1))))))));", NULL},
        {"frob.u32 %r1, (((((((((%r1)))))))));", "brackets in brackets"},
        {"frob.u32 %r1 = %r1;", "expected ';' before '='"},
        {"frob.u32 %r1, \"x\";", "expected ';' before '\"x\"'"},
        {"frob.u32 %r1, 99999999999999999999;", "has more than 64 bits"},
        {"frob.u32 %r1", "ret is not declared"},
        {"mov.u32 %r1, %envreg;", NULL},
        {"mov.u32 %r1, %environment;", "unknown register %environment"},
    };
    CUcontext context;
    good(cuInit(0));
    good(cuCtxCreate_v2(&context, 0, 0));
    for (size_t k = 0; k < sizeof list / sizeof *list; k++) {
        char body[512];
        CUmodule module;
        snprintf(body, sizeof body, ".visible .entry k() { .reg .b32 %%r<3>; .reg .b64 %%rd<3>; %s ret; }\n",
                 list[k].statement);
        if (list[k].sentence)
            refused(cuModuleLoadData(&module, ptx_for("sm_80", body)), CUDA_ERROR_INVALID_PTX, list[k].sentence);
        else
            good(cuModuleLoadData(&module, ptx_for("sm_80", body)));
    }
    good(cuCtxDestroy_v2(context));
}

/* A name of 1,500 characters keeps its ends, and the sentence behind it is whole. */
static void long_names(void **state) {
    (void)state;
    struct world w;
    struct str text = {0};
    char name[1501];
    CUmodule module;
    CUfunction f;
    snprintf(name, sizeof name, "_Zbegin%01489dEv_z", 0);
    str_printf(&text, ".visible .entry %s(.param .u64 x) { trap; ret; }\n", name);
    open_module(&w, ptx_for("sm_80", text.data));
    good(cuModuleGetFunction(&f, w.module, name));
    refused(cuLaunchKernel(f, 1, 1, 1, 2048, 1, 1, 0, NULL, (void *[]){&w.buffer}, NULL), CUDA_ERROR_INVALID_VALUE,
            "Ev_z: grid 1x1x1 of blocks 2048x1x1 is out of the limits");
    refused(run(&w, name, 0), CUDA_ERROR_LAUNCH_FAILED,
            "0Ev_z: CTA (0,0,0), warp 0, lane 0, PTX line 3 'trap': the kernel stopped itself");
    good(cuCtxDestroy_v2(w.context));
    good(cuCtxCreate_v2(&w.context, 0, 0));
    str_clear(&text);
    str_printf(&text, ".visible .entry k() { call %s; ret; }\n", name);
    refused(cuModuleLoadData(&module, ptx_for("sm_80", text.data)), CUDA_ERROR_INVALID_PTX, "Ev_z is not declared");
    str_clear(&text);
    str_printf(&text, ".extern .func %s();\n.visible .entry k() { call %s; ret; }\n", name, name);
    good(cuModuleLoadData(&w.module, ptx_for("sm_80", text.data)));
    refused(run(&w, "k", 0), CUDA_ERROR_ILLEGAL_INSTRUCTION, "Ev_z, which the module does not define");
    good(cuCtxDestroy_v2(w.context));
    str_release(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(others_run),
        cmocka_unit_test(no_instruction),
        cmocka_unit_test(long_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
