/* A driver whose first, second, third ... call fails: each failure is told, by the sentence of what was tried, and
 * leaves nothing behind that hinders the next try. */
#include "failing_cuda.h"
#include "runtime/base/file.h"
#include "runtime/base/log.h"
#include "runtime/mixtune.h"
#include "runtime/serve/table.h"
#include "tuner/measure/timer.h"
#include "tuner/measure/verify.h"
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

static struct failing_cuda *driver;
static struct device dev;
static char folder[] = "/tmp/mixtune-failing-XXXXXX";

static void take(enum mt_status status) {
    if (status != MT_OK)
        fail_msg("%s", fail_message());
}

/* A call, and the words of the sentence when it fails; NULL: then nothing fails. */
struct expected {
    const char *call, *words;
};
enum { MOST = 16 /* expectations of one path */ };

/* What is released may fail to be so, and without a number of clusters all are launched. */
static bool is_harmless(const char *call) {
    static const char *const calls[] = {"cuCtxDestroy_v2",    "cuModuleUnload",
                                        "cuMemFree_v2",       "cuMemFreeHost",
                                        "cuStreamDestroy_v2", "cuEventDestroy_v2",
                                        "cuGraphExecDestroy", "cuGraphDestroy",
                                        "cuFuncGetAttribute", "cuOccupancyMaxActiveClusters"};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (!strcmp(call, calls[i]))
            return true;
    return false;
}

/* Which of the expectations it was; -1 for what is harmless. */
static int check_failure_is_told(const char *what, int at, enum mt_status status, const struct expected *expected) {
    if (is_harmless(driver->name)) {
        if (status != MT_OK)
            fail_msg("%s: call %d, %s, is harmless: %s", what, at, driver->name, fail_message());
        return -1;
    }
    int i = 0;
    while (expected[i].call && strcmp(expected[i].call, driver->name) != 0)
        i++;
    if (!expected[i].call)
        fail_msg("%s: call %d is %s, of which nothing is expected", what, at, driver->name);
    const char *words = expected[i].words;
    if (!words && status == MT_OK)
        return i;
    if (status == MT_OK)
        fail_msg("%s: call %d, %s, failed and nothing said so", what, at, driver->name);
    const char *name = strstr(fail_message(), "CUDA_ERROR_NOT_PERMITTED (800)");
    if (!words || !name || !strstr(fail_message(), words) || strchr(fail_message(), '\n'))
        fail_msg("%s: call %d, %s: '%s' is not in '%s'", what, at, driver->name, words, fail_message());
    return i;
}

/* Runs `path` until none of its calls is left to fail. */
static void every_call_fails(const char *what, enum mt_status (*path)(void), const struct expected *expected) {
    int at = 0;
    bool seen[MOST] = {0};
    enum mt_status status;
    do {
        const int held = driver->held;
        *driver = (struct failing_cuda){.at = ++at, .result = CUDA_ERROR_NOT_PERMITTED, .held = held};
        (fail)(MT_OK, "no failure");
        status = path();
        driver->at = 0;
        if (driver->held != held)
            fail_msg("%s: %d things are held after call %d, %s, failed", what, driver->held - held, at,
                     driver->name ? driver->name : "");
        if (driver->name) {
            int which = check_failure_is_told(what, at, status, expected);
            if (which >= 0)
                seen[which] = true;
        }
    } while (driver->name);
    take(status);
    for (int i = 0; expected[i].call; i++)
        if (!seen[i])
            fail_msg("%s does not call %s", what, expected[i].call);
    print_message("%s: %d calls\n", what, at - 1);
}

/* ---- the device ---- */

static enum mt_status open_again(void) {
    struct device again;
    enum mt_status status = device_open(&again, "cuda:0");
    if (status == MT_OK)
        device_close(&again);
    else if (again.drv.library || again.context)
        return MT_OK; /* something is held: not what is expected */
    return status;
}

static void opening(void **state) {
    (void)state;
    static const struct expected expected[] = {{"cuInit", "the driver does not start"},
                                               {"cuDeviceGetCount", "the driver does not start"},
                                               {"cuDeviceGet", "the device cannot be opened"},
                                               {"cuDeviceGetAttribute", "cannot be asked for its properties"},
                                               {"cuDeviceGetName", "cannot be asked for its properties"},
                                               {"cuDeviceGetUuid_v2", "cannot be asked for its properties"},
                                               {"cuDeviceTotalMem_v2", "cannot be asked for its properties"},
                                               {"cuDriverGetVersion", "cannot be asked for its properties"},
                                               {"cuCtxCreate_v2", "no context on the device"},
                                               {NULL, NULL}};
    every_call_fails("opening", open_again, expected);
    assert_int_equal(dev.drv.CtxSetCurrent(dev.context), CUDA_SUCCESS);
}

/* ---- kernels ---- */

static const struct problem decode = {
    .m = 3, .n = 200, .k = 320, .group = 64, .rows8 = 100, .dtype = DTYPE_BF16, .bias = 1};

static void config_of(const char *family, const char *text, struct config *out) {
    char reason[160];
    struct device_limits limits;
    device_limits_of(&dev, &limits);
    take(config_parse(family_find(family), text, out));
    if (!config_allowed(out, &decode, &limits, reason))
        fail_msg("%s", reason);
}

#define SM80 "tile_n=64,tile_m=8,stages=3,warps_n=2,split_k=2"
#define SM90 "blocks=1,tile_m=16,stages=8,cluster=2,store=1"
#define F16  "tile_n=32,tile_m=16,stages=2,warps_n=2"

static enum mt_status load_kernel(const char *family, const char *text, struct kernel *out) {
    struct config config;
    struct image image;
    config_of(family, text, &config);
    take(kernel_compile(&dev, &config, &decode, &image));
    return kernel_load(&dev, &config, image, out);
}

static enum mt_status load_all(void) {
    struct kernel kernel;
    enum mt_status status = load_kernel("sm90", SM90, &kernel);
    if (status == MT_OK) {
        assert_true(kernel.function && (kernel.clusters > 0 || is_harmless(driver->name)));
        kernel_unload(&dev, &kernel);
        status = load_kernel("sm80", SM80, &kernel);
        kernel_unload(&dev, &kernel);
    }
    if (status == MT_OK) {
        status = kernel_load_quantize(&dev, &decode, &kernel);
        kernel_unload(&dev, &kernel);
    }
    assert_null(kernel.image.data);
    return status;
}

static void loading(void **state) {
    (void)state;
    static const struct expected expected[] = {{"cuCtxSetCurrent", "the kernel cannot be loaded"},
                                               {"cuModuleLoadData", "the kernel cannot be loaded"},
                                               {"cuModuleGetFunction", "the kernel cannot be loaded"},
                                               {"cuFuncSetAttribute", "the kernel cannot be loaded"},
                                               {NULL, NULL}};
    take(load_all()); /* what is not in the cache is compiled: NVRTC calls the driver, too */
    every_call_fails("loading", load_all, expected);
}

/* ---- proofs ---- */

static struct kernel kernel;
static struct proof proof;

static enum mt_status outcome_of(const struct check *check) {
    if (check->outcome == OUTCOME_OK && check->hash) /* of verify_gemm(): it compared every element */
        assert_true(check->verdict.worst > 0 && check->verdict.worst <= 1);
    return check->outcome == OUTCOME_OK ? MT_OK : (fail)(MT_FAILURE, "%s", check->message);
}

static enum mt_status prove_gemm(void) {
    struct check check;
    verify_gemm(&proof, &kernel, &check);
    return outcome_of(&check);
}

static enum mt_status prove_quantize(void) {
    struct check check;
    verify_quantize(&proof, &kernel, &check);
    return outcome_of(&check);
}

static enum mt_status make_proof(void) {
    struct proof own;
    enum mt_status status = proof_init(&own, &dev, &decode, true, 1);
    proof_release(&own);
    if (status == MT_OK) {
        status = proof_init(&own, &dev, &decode, false, 1);
        proof_release(&own);
    }
    return status;
}

/* One width, no bias. */
static const struct problem uniform = {.m = 2, .n = 64, .k = 128, .group = 128, .dtype = DTYPE_F16};

static void proving(void **state) {
    (void)state;
    struct problem wrong = uniform;
    wrong.group = 100;
    assert_int_equal(proof_init(&proof, &dev, &wrong, true, 1), MT_USAGE);
    assert_non_null(strstr(fail_message(), "the group size is 100"));
    proof_release(&proof);
    take(proof_init(&proof, &dev, &uniform, true, 1));
    assert_true(proof.gemm.part[MT_PART_W4].rows == 64 && !proof.gemm.part[MT_PART_W8].weights && !proof.gemm.bias);
    proof_release(&proof);

    static const struct expected make[] = {
        {"cuMemAlloc_v2", "cuMemAlloc"}, {"cuMemcpyHtoD_v2", "cuMemcpyHtoD"}, {NULL, NULL}};
    every_call_fails("making a proof", make_proof, make);

    static const struct expected sm80[] = {{"cuMemAlloc_v2", "cuMemAlloc"},
                                           {"cuMemsetD8_v2", "cuMemsetD8"},
                                           {"cuLaunchKernel", "the GEMM cannot be launched"},
                                           {"cuCtxSynchronize", "running the kernel"},
                                           {"cuMemcpyDtoH_v2", "cuMemcpyDtoH"},
                                           {NULL, NULL}};
    take(proof_init(&proof, &dev, &decode, true, 1));
    take(load_kernel("sm80", SM80, &kernel));
    every_call_fails("a proof of sm80", prove_gemm, sm80);
    kernel_unload(&dev, &kernel);

    static const struct expected sm90[] = {
        {"cuMemAlloc_v2", "cuMemAlloc"},
        {"cuMemsetD8_v2", "cuMemsetD8"},
        {"cuTensorMapEncodeTiled", "the tensor maps of activations and output cannot be made"},
        {"cuLaunchKernel", "the GEMM cannot be launched"},
        {"cuCtxSynchronize", "running the kernel"},
        {"cuMemcpyDtoH_v2", "cuMemcpyDtoH"},
        {NULL, NULL}};
    take(load_kernel("sm90", SM90, &kernel));
    every_call_fails("a proof of sm90", prove_gemm, sm90);
    kernel_unload(&dev, &kernel);

    static const struct expected quantize[] = {{"cuMemsetD8_v2", "cuMemsetD8"},
                                               {"cuLaunchKernel", "the quantisation of activations cannot be launched"},
                                               {"cuCtxSynchronize", "running the kernel"},
                                               {"cuMemcpyDtoH_v2", "cuMemcpyDtoH"},
                                               {NULL, NULL}};
    take(kernel_load_quantize(&dev, &decode, &kernel));
    every_call_fails("a proof of quantisation", prove_quantize, quantize);
    kernel_unload(&dev, &kernel);
    proof_release(&proof);

    static const struct expected f16[] = {{"cuMemAlloc_v2", "cuMemAlloc"},
                                          {"cuMemsetD8_v2", "cuMemsetD8"},
                                          {"cuLaunchKernel", "the fp16 GEMM cannot be launched"},
                                          {"cuCtxSynchronize", "running the kernel"},
                                          {"cuMemcpyDtoH_v2", "cuMemcpyDtoH"},
                                          {NULL, NULL}};
    take(proof_init(&proof, &dev, &decode, false, 1));
    take(load_kernel("f16", F16, &kernel));
    every_call_fails("a proof of f16", prove_gemm, f16);
    kernel_unload(&dev, &kernel);
    proof_release(&proof);
}

/* ---- times ---- */

static struct gate *gate;
static struct timer_job job;

static enum mt_status launch_timed(void *context, int turn, CUstream stream) {
    (void)context;
    assert_int_equal(turn, 0);
    const struct mt_quantize_args args = {.x = proof.f16.x,
                                          .q = memory_pointer(proof.q),
                                          .scales = memory_pointer(proof.scales),
                                          .sums = memory_pointer(proof.sums),
                                          .m = decode.m,
                                          .k = decode.k,
                                          .k_padded = proof.acts.k_padded,
                                          .groups = proof.acts.groups,
                                          .ldx = proof.f16.ldx};
    return launch_quantize(&dev, &kernel, &args, stream);
}

static CUresult no_time(float *ms, CUevent begin, CUevent end) {
    (void)begin, (void)end;
    *ms = 0;
    return CUDA_SUCCESS;
}

static enum mt_status open_gate(void) {
    struct gate *own;
    enum mt_status status = gate_open(&dev, &own);
    if (status != MT_OK)
        assert_null(own);
    gate_close(own);
    return status;
}

static enum mt_status measure(void) {
    struct timing timing;
    enum mt_status status = timer_measure(&dev, &job, &timing);
    if (status != MT_OK)
        assert_null(timing.samples_ns);
    timing_release(&timing);
    return status;
}

static enum mt_status sample(void) {
    struct timer *timer;
    double ns = 0;
    enum mt_status status = timer_open(&dev, &job, &timer);
    if (status == MT_OK)
        status = timer_sample(timer, &ns);
    if (status == MT_OK) {
        assert_true(ns > 0);
        status = timer_capture(timer);
    }
    if (status == MT_OK)
        status = timer_sample(timer, &ns);
    timer_close(timer);
    return status;
}

#define TIMER_CALLS                                                                                                    \
    {"cuStreamCreate", "cuStreamCreate"}, {"cuEventCreate", "cuEventCreate"},                                          \
        {"cuCtxSynchronize", "what came before a timed launch"},                                                       \
        {"cuLaunchKernel", "the quantisation of activations cannot be launched"}, {"cuEventRecord", "cuEventRecord"},  \
        {"cuEventElapsedTime", "cuEventElapsedTime"}, {"cuStreamBeginCapture_v2", "cuStreamBeginCapture"},             \
        {"cuStreamEndCapture", "cuStreamEndCapture"}, {"cuGraphInstantiateWithFlags", "cuGraphInstantiate"}, {         \
        "cuGraphLaunch", "cuGraphLaunch"                                                                               \
    }

static void timing(void **state) {
    (void)state;
    const struct timer_limits limits = {5, 1, 10};
    job = (struct timer_job){.launch = launch_timed, .rotation = 1, .limits = &limits};
    CUresult (*const elapsed_time)(float *, CUevent, CUevent) = dev.drv.EventElapsedTime;
    take(proof_init(&proof, &dev, &decode, true, 1));
    take(kernel_load_quantize(&dev, &decode, &kernel));

    static const struct expected plain[] = {TIMER_CALLS,
                                            {"cuStreamSynchronize", "the first launch"},
                                            {"cuEventSynchronize", "the timed launch"},
                                            {NULL, NULL}};
    every_call_fails("measuring", measure, plain);
    job.beat_ns = 100; /* twice as slow as that, even as a graph */
    every_call_fails("measuring in vain", measure, plain);
    job.beat_ns = 0;
    dev.drv.EventElapsedTime = no_time;
    assert_int_equal(measure(), MT_FAILURE);
    assert_string_equal(fail_message(), "the device reports a time of 0 ms for a kernel");
    dev.drv.EventElapsedTime = elapsed_time;

    static const struct expected opening[] = {{"cuModuleLoadData", "the kernels of the timer cannot be loaded"},
                                              {"cuModuleGetFunction", "the kernels of the timer cannot be loaded"},
                                              {"cuMemHostAlloc", "no memory that host and device share"},
                                              {"cuMemHostGetDevicePointer_v2", "no memory that host and device share"},
                                              {"cuDeviceGetAttribute", NULL}, /* then no clock is known */
                                              {"cuLaunchKernel", "a kernel of the timer cannot be launched"},
                                              {"cuCtxSynchronize", "the kernels of the timer do not run"},
                                              {NULL, NULL}};
    every_call_fails("opening the gate", open_gate, opening);

    struct expected gated[] = {TIMER_CALLS, {"cuStreamSynchronize", ""}, {NULL, NULL}};
    for (int i = 0; gated[i].call; i++)
        if (!strcmp(gated[i].call, "cuLaunchKernel"))
            gated[i].words = "cannot be launched"; /* the gate's kernels, too */
    take(gate_open(&dev, &gate));
    job.gate = gate;
    every_call_fails("sampling behind the gate", sample, gated);
    gate_close(gate);
    kernel_unload(&dev, &kernel);
    proof_release(&proof);
}

/* ---- dispatch ---- */

static struct str bundle_path;

/* A layer with a tuned kernel; its quantisation is compiled when it is opened. */
static void write_bundle(void) {
    struct config config;
    struct image image;
    char hash[33];
    config_of("sm80", SM80, &config);
    take(kernel_compile(&dev, &config, &decode, &image));
    take(template_hash(hash));
    const struct bundle_layer layer = {"one", "", 1, decode.n, decode.k, decode.group, decode.rows8, "mixed", "bf16"};
    const struct problem narrow = {.m = 1, .n = 64, .k = 512, .group = 128};
    struct image other;
    struct str text = {0}, built[2] = {{0}, {0}};
    char names[2][BUNDLE_NAME_TEXT];
    config_format(&config, &text);
    take(kernel_compile(&dev, &config, &narrow, &other));
    config_format_binary(&config, &decode, &built[0]);
    config_format_binary(&config, &narrow, &built[1]);
    bundle_image_name(built[0].data, image.data, image.size, names[0]);
    bundle_image_name(built[1].data, other.data, other.size, names[1]);
    const struct bundle_entry entry = {0, 16, BUNDLE_KERNEL, "sm80", text.data, names[0], 1000, BUNDLE_MODELLED, 0};
    /* Other formats than the layer's: a layer of these needs its own quantisation. */
    const struct bundle_build fallback = {"sm80", text.data, "w4a8", "fp16", 128, names[1]};
    const struct bundle_image images[] = {
        {.hash = names[0], .built = built[0].data, .data = image.data, .size = image.size},
        {.hash = names[1], .built = built[1].data, .data = other.data, .size = other.size}};
    const struct bundle bundle = {.fingerprint = {.gpu = dev.name,
                                                  .cc = dev.cc,
                                                  .sm_count = dev.sm_count,
                                                  .software = 1,
                                                  .template_hash = hash,
                                                  .layout = MT_LAYOUT},
                                  .layers = &layer,
                                  .layer_count = 1,
                                  .entries = &entry,
                                  .entry_count = 1,
                                  .fallbacks = &fallback,
                                  .fallback_count = 1,
                                  .images = images,
                                  .image_count = 2};
    str_clear(&bundle_path);
    str_printf(&bundle_path, "%s/bundle", folder);
    take(bundle_write(bundle_path.data, &bundle));
    image_release(&image);
    image_release(&other);
    str_release(&text);
    str_release(&built[0]);
    str_release(&built[1]);
}

static enum mt_status open_table(void) {
    struct mt_table *table;
    enum mt_status status = mt_table_open(bundle_path.data, 0, &table);
    assert_true((status == MT_OK) == (table != NULL));
    if (status != MT_OK)
        assert_non_null(strstr(mt_error_message(), bundle_path.data));
    if (status == MT_OK) {
        const struct mt_shape shape = {.size = sizeof shape, .n = 64, .k = 512, .group = 128};
        const struct mt_layer *shaped;
        status = mt_table_layer_shaped(table, &shape, &shaped);
        assert_true((status == MT_OK) == (shaped != NULL));
    }
    mt_table_close(table);
    return status;
}

static struct mt_table *table;
static const struct mt_layer *layer;
static struct mt_packed *packed;

static enum mt_status use_table(void) {
    struct memory memory = {0};
    const struct mt_activations acts = {
        .size = sizeof acts, .codes = proof.q, .scales = proof.scales, .sums = proof.sums};
    struct mt_weights weights = {.size = sizeof weights};
    struct mt_gemm_operands gemm = {
        .size = sizeof gemm, .m = decode.m, .ldy = decode.n, .weights = &weights, .x = &acts};
    const struct mt_quantize_operands quantize = {
        .size = sizeof quantize, .m = decode.m, .ldx = decode.k, .x = proof.device_x, .out = &acts};
    gemm.workspace_bytes = mt_workspace_bytes(table, layer, decode.m);
    const int at = driver->at; /* what the caller of the library does is not looked at */
    driver->at = 0;
    take(memory_alloc(&memory, &dev, gemm.workspace_bytes, &gemm.workspace));
    take(memory_alloc(&memory, &dev, (size_t)decode.m * (size_t)decode.n * 2, &gemm.y));
    take(device_check(&dev, dev.drv.MemsetD8(gemm.workspace, 0, gemm.workspace_bytes), "clearing"));
    driver->at = at;
    driver->calls = 0;
    enum mt_status status = mt_weights_upload(table, packed, &weights);
    if (status != MT_OK)
        assert_true(weights.memory == 0 && weights.weights[MT_W8] == 0);
    if (status == MT_OK)
        status = mt_quantize_launch(table, layer, &quantize, NULL);
    if (status == MT_OK)
        status = mt_gemm_launch(table, layer, &gemm, NULL);
    mt_weights_free(table, &weights);
    driver->at = 0;
    assert_int_equal(dev.drv.CtxSynchronize(), CUDA_SUCCESS);
    memory_release(&memory, &dev);
    return status;
}

static void dispatching(void **state) {
    (void)state;
    static const struct expected opening[] = {
        {"cuCtxGetCurrent", NULL}, /* then the software device behind the driver has a current context, too */
        {"cuCtxGetDevice", NULL},
        {"cuDeviceGetAttribute", "cannot be asked for its properties"},
        {"cuDeviceGetName", "cannot be asked for its properties"},
        {"cuDeviceGetUuid_v2", "cannot be asked for its properties"},
        {"cuDeviceTotalMem_v2", "cannot be asked for its properties"},
        {"cuDriverGetVersion", "cannot be asked for its properties"},
        {"cuCtxSetCurrent", "the kernel cannot be loaded"},
        {"cuModuleLoadData", "the kernel cannot be loaded"},
        {"cuModuleGetFunction", "the kernel cannot be loaded"},
        {"cuFuncSetAttribute", "the kernel cannot be loaded"},
        {NULL, NULL}};
    static const struct expected using[] = {{"cuMemAlloc_v2", "no device memory for the weights"},
                                            {"cuMemcpyHtoD_v2", "the weights cannot be copied to the device"},
                                            {"cuLaunchKernel", "cannot be launched"},
                                            {NULL, NULL}};
    write_bundle();
    take(open_table());
    every_call_fails("opening a table", open_table, opening);

    take(proof_init(&proof, &dev, &decode, true, 1));
    take(mt_table_open(bundle_path.data, 0, &table));
    take(mt_table_load(table, NULL));
    layer = mt_table_layer_at(table, 0);
    float *w = xcalloc((size_t)decode.n * (size_t)decode.k, sizeof *w);
    take(mt_pack_float(layer, w, NULL, &packed));
    every_call_fails("dispatching", use_table, using);
    mt_packed_free(packed);
    free(w);
    mt_table_close(table);
    proof_release(&proof);
    unlink(bundle_path.data);
    str_release(&bundle_path);
}

static int set_up(void **state) {
    (void)state;
    struct str path = {0};
    log_set_level(LOG_ERROR);
    setenv("SOFTGPU_DEVICE", "h100-sxm", 1);
    if (!own_folder(&path) || !mkdtemp(folder))
        return -1;
    /* Loaded, it is found under the name that it was linked with. */
    str_append(&path, "/failing_cuda.so");
    void *library = dlopen(path.data, RTLD_NOW | RTLD_LOCAL);
    driver = library ? dlsym(library, "failing_cuda") : NULL;
    str_release(&path);
    if (!driver) {
        print_message("%s\n", dlerror());
        return -1;
    }
    return device_open(&dev, "cuda:0");
}

static int tear_down(void **state) {
    (void)state;
    device_close(&dev);
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opening), cmocka_unit_test(loading),     cmocka_unit_test(proving),
        cmocka_unit_test(timing),  cmocka_unit_test(dispatching),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
