/* What the software device's driver says of the device, its settings, contexts, and the names of errors and
 * functions. */
#include "driver.h"
#include "runtime/base/file.h"
#include "runtime/softgpu/time/hash.h"
#include <cudaProfiler.h>
#include <dlfcn.h>
#include <glob.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

/* A device of which no number is like another. */
static const char device_text[] =
    "name: Pear 9\ncompute_capability: 93\nsm_count: 7\nclock_mhz: 1111\nmemory_mib: 2222\nmemory_gbs: 512\n"
    "memory_efficiency: 0.9\nmemory_latency_ns: 300\nl2_kib: 333\nl2_bytes_per_clock: 4000\nsm_l2_bytes_per_clock: 64\n"
    "l2_latency_clocks: 200\nshared_per_sm_kib: 99\nshared_per_block_kib: 88\nshared_reserved_bytes: 777\n"
    "registers_per_sm: 55555\nregister_granule: 256\nwarps_per_sm: 44\nblocks_per_sm: 21\nschedulers_per_sm: 4\n"
    "alu_lanes: 64\nfma_lanes: 128\nimad_lanes: 64\nhalf_lanes: 128\nxu_lanes: 16\nlsu_lanes: 32\nfp64_lanes: "
    "64\nbranch_lanes: 64\n"
    "tensor_int8_macs: 4096\ntensor_f16_macs: 2048\ntensor_other_macs: 1024\nmma_sync_fraction: 0.66\n"
    "warp_interval_clocks: 2\nloads_in_flight: 4\noverlap_exponent: 3\nmma_overlap_exponent: 1.5\natomic_us: "
    "2\nwgmma_setup_us: 2\nlaunch_us: "
    "1.8\n"
    "graph_node_us: 0.8\nhost_link_gbs: 50\n";
static char device_path[64];

static void write_device(const char *text) {
    FILE *file = fopen(device_path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

/* ---- settings ---- */

/* In a process of its own, for cuInit() reads its settings once: its code, and what it says. */
static void check_init(const char *name, const char *value, unsigned flags, CUresult want, const char *sentence) {
    char said[2048];
    struct capture capture;
    int status = 0;
    capture_begin(&capture, STDERR_FILENO);
    const pid_t child = fork();
    if (child == 0) {
        setenv(name, value, 1);
        signal(SIGSEGV, SIG_DFL); /* cmocka's handler would go on with the next test, here */
        _exit((int)cuInit(flags) & 255);
    }
    waitpid(child, &status, 0);
    capture_end(&capture, said, sizeof said);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), want & 255);
    check_said(said, sentence);
}

static void test_settings(void **state) {
    (void)state;
    write_device(device_text);
    check_init("SOFTGPU_ASYNC", "late", 0, CUDA_SUCCESS, "");
    check_init("SOFTGPU_ASYNC", "", 0, CUDA_SUCCESS, "");
    check_init("SOFTGPU_ASYNC", "eager", 1, CUDA_ERROR_INVALID_VALUE, "");
    check_init("SOFTGPU_ASYNC", "soon", 0, CUDA_ERROR_INVALID_VALUE,
               "SOFTGPU_ASYNC=soon is unknown: give late or eager");
    check_init("SOFTGPU_CHECK", "", 0, CUDA_SUCCESS, "");
    check_init("SOFTGPU_CHECK", "-mbarrier-count,-copy-overlap", 0, CUDA_SUCCESS, "");
    check_init("SOFTGPU_CHECK", "-race,-rice", 0, CUDA_ERROR_INVALID_VALUE,
               "SOFTGPU_CHECK=-race,-rice: there is no check 'rice'; known are all, none, uninitialized, race, ");
    check_init("SOFTGPU_SEED", "many", 0, CUDA_SUCCESS, "SOFTGPU_SEED=many is no number; 1 is used");
    check_init("SOFTGPU_WATCHDOG", "12x", 0, CUDA_SUCCESS, "SOFTGPU_WATCHDOG=12x is no number; 16777216 is used");
    check_init("SOFTGPU_SEED", "", 0, CUDA_SUCCESS, "");
    check_init("SOFTGPU_DEVICE", "no-such-gpu", 0, CUDA_ERROR_NO_DEVICE,
               "no software device \"no-such-gpu\": there is no no-such-gpu.yaml in configs/devices; there are ");
    write_device("name: Pear 9\n");
    check_init("SOFTGPU_LOG", "0", 0, CUDA_ERROR_INVALID_VALUE, device_path);
    write_device("# nothing\n");
    check_init("SOFTGPU_LOG", "0", 0, CUDA_ERROR_INVALID_VALUE, "it is empty; copy one from configs/devices/");
    write_device(device_text);
}

/* Before cuInit() nothing works; after it, once more changes nothing. */
static void test_init(void **state) {
    (void)state;
    int count;
    CUcontext context;
    CUdeviceptr x;
    assert_int_equal(cuDeviceGetCount(&count), CUDA_ERROR_NOT_INITIALIZED);
    assert_int_equal(cuCtxCreate_v2(&context, 0, 0), CUDA_ERROR_NOT_INITIALIZED);
    assert_int_equal(cuMemAlloc_v2(&x, 8), CUDA_ERROR_NOT_INITIALIZED);
    assert_int_equal(cuCtxGetCurrent(&context), CUDA_ERROR_NOT_INITIALIZED);
    setenv("SOFTGPU_ASYNC", "eager", 1);
    setenv("SOFTGPU_SEED", "0x21", 1);
    setenv("SOFTGPU_CHECK", "none,race,-copy-end", 1);
    setenv("SOFTGPU_THREADS", "0", 1);
    setenv("SOFTGPU_WATCHDOG", "4321", 1);
    assert_int_equal(cuInit(2), CUDA_ERROR_INVALID_VALUE);
    good(cuInit(0));
    assert_true(cu_device.eager_async && !cu_device.log);
    assert_int_equal(cu_device.checks, 1u << SG_CHECK_RACE);
    assert_int_equal(cu_device.seed, 33);
    assert_int_equal(cu_device.watchdog, 4321);
    assert_int_equal(cu_device.host_threads, 1);
    setenv("SOFTGPU_SEED", "5", 1);
    good(cuInit(0));
    good(cuInit(7)); /* as the driver has it: flags are looked at once */
    assert_int_equal(cu_device.seed, 33);
    int version = 0;
    good(cuDriverGetVersion(&version));
    assert_int_equal(version, CUDA_VERSION);
    assert_int_equal(cuDriverGetVersion(NULL), CUDA_ERROR_INVALID_VALUE);
}

/* ---- the device ---- */

static void test_device(void **state) {
    (void)state;
    int number = 9, major = 0, minor = 0;
    CUdevice device = 9;
    size_t bytes = 0;
    char text[64];
    good(cuDeviceGetCount(&number));
    assert_int_equal(number, 1);
    assert_int_equal(cuDeviceGetCount(NULL), CUDA_ERROR_INVALID_VALUE);
    good(cuDeviceGet(&device, 0));
    assert_int_equal(device, 0);
    assert_int_equal(cuDeviceGet(&device, 1), CUDA_ERROR_INVALID_DEVICE);
    assert_int_equal(cuDeviceGet(&device, -1), CUDA_ERROR_INVALID_DEVICE);
    assert_int_equal(cuDeviceGet(NULL, 0), CUDA_ERROR_INVALID_VALUE);
    good(cuDeviceGetName(text, sizeof text, 0));
    assert_string_equal(text, "Pear 9 (software device, modelled times)");
    good(cuDeviceGetName(text, 5, 0));
    assert_string_equal(text, "Pear");
    good(cuDeviceGetName(text, 1, 0));
    assert_string_equal(text, "");
    strcpy(text, "kept");
    good(cuDeviceGetName(text, 0, 0));
    assert_string_equal(text, "kept");
    assert_int_equal(cuDeviceGetName(text, 5, 1), CUDA_ERROR_INVALID_DEVICE);
    assert_int_equal(cuDeviceGetName(NULL, 5, 0), CUDA_ERROR_INVALID_VALUE);
    good(cuDeviceTotalMem_v2(&bytes, 0));
    assert_int_equal(bytes, (size_t)2222 << 20);
    assert_int_equal(cuDeviceTotalMem_v2(&bytes, 1), CUDA_ERROR_INVALID_DEVICE);
    assert_int_equal(cuDeviceTotalMem_v2(NULL, 0), CUDA_ERROR_INVALID_VALUE);
    good(cuDeviceComputeCapability(&major, &minor, 0));
    assert_int_equal(major, 9);
    assert_int_equal(minor, 3);
    assert_int_equal(cuDeviceComputeCapability(&major, NULL, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuDeviceComputeCapability(NULL, &minor, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuDeviceComputeCapability(&major, &minor, 3), CUDA_ERROR_INVALID_DEVICE);
    good(cuDeviceGetPCIBusId(text, 13, 0));
    assert_string_equal(text, "ffff:ff:1f.0");
    device = 9;
    good(cuDeviceGetByPCIBusId(&device, text));
    assert_int_equal(device, 0);
    assert_int_equal(cuDeviceGetByPCIBusId(&device, "0000:01:00.0"), CUDA_ERROR_INVALID_DEVICE);
    assert_int_equal(cuDeviceGetByPCIBusId(&device, NULL), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuDeviceGetByPCIBusId(NULL, text), CUDA_ERROR_INVALID_VALUE);
    good(cuDeviceCanAccessPeer(&number, 0, 0));
    assert_int_equal(number, 0);
    assert_int_equal(cuDeviceCanAccessPeer(&number, 0, 1), CUDA_ERROR_INVALID_DEVICE);
    assert_int_equal(cuDeviceGetPCIBusId(text, 12, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuDeviceGetPCIBusId(text, 13, 1), CUDA_ERROR_INVALID_DEVICE);
    assert_int_equal(cuDeviceGetPCIBusId(NULL, 13, 0), CUDA_ERROR_INVALID_VALUE);
}

static CUuuid uuid_of(const char *text) {
    CUuuid out;
    struct dev_profile *kept = cu_device.profile;
    write_device(text);
    assert_int_equal(dev_profile_load(device_path, &cu_device.profile), MT_OK);
    good(cuDeviceGetUuid_v2(&out, 0));
    dev_profile_free(cu_device.profile);
    cu_device.profile = kept;
    return out;
}

/* Another description is another device. */
static void test_uuid(void **state) {
    (void)state;
    char other[sizeof device_text + 16];
    CUuuid uuid, again;
    good(cuDeviceGetUuid(&uuid, 0));
    good(cuDeviceGetUuid_v2(&again, 0));
    assert_memory_equal(&uuid, &again, sizeof uuid);
    assert_memory_not_equal(uuid.bytes, uuid.bytes + 8, 8);
    snprintf(other, sizeof other, "%s# another\n", device_text);
    again = uuid_of(other);
    assert_memory_not_equal(uuid.bytes, again.bytes, 8);
    assert_memory_not_equal(uuid.bytes + 8, again.bytes + 8, 8);
    again = uuid_of(device_text);
    assert_memory_equal(&uuid, &again, sizeof uuid);
    assert_int_equal(cuDeviceGetUuid(&uuid, 1), CUDA_ERROR_INVALID_DEVICE);
    assert_int_equal(cuDeviceGetUuid_v2(NULL, 0), CUDA_ERROR_INVALID_VALUE);
}

/* The sources that decide a modelled time, as they are built in. */
extern const char model_sources[], model_sources_end[];

static bool is_built_in(const char *path) {
    struct str text = {0};
    if (file_read(path, &text) != MT_OK)
        fail_msg("%s", fail_message());
    const bool found = memmem(model_sources, (size_t)(model_sources_end - model_sources), text.data, text.length);
    str_release(&text);
    return found;
}

static void model_of(const char *text, char out[MODEL_HASH]) {
    struct dev_profile *profile;
    write_device(text);
    assert_int_equal(dev_profile_load(device_path, &profile), MT_OK);
    model_hash(profile, out);
    dev_profile_free(profile);
    write_device(device_text);
}

/* Whatever decides a modelled time changes the hash: the device's file, and each source of the model. */
static void test_time_model(void **state) {
    (void)state;
    static const char *const folders[] = {"time", "profile"};
    char other[sizeof device_text + 16], hash[MODEL_HASH], again[MODEL_HASH];
    glob_t files;
    good(softgpuTimeModel(hash, sizeof hash, 0));
    assert_int_equal(strspn(hash, "0123456789abcdef"), MODEL_HASH - 1);
    model_of(device_text, again);
    assert_string_equal(hash, again);
    snprintf(other, sizeof other, "%s# another\n", device_text);
    model_of(other, again);
    assert_string_not_equal(hash, again);
    for (int f = 0; f < 2; f++) {
        snprintf(other, sizeof other, MT_SOURCE_DIR "/runtime/softgpu/%s/*.[ch]", folders[f]);
        assert_int_equal(glob(other, 0, NULL, &files), 0);
        for (size_t i = 0; i < files.gl_pathc; i++)
            if (!is_built_in(files.gl_pathv[i]))
                fail_msg("%s decides modelled times and is not in their hash", files.gl_pathv[i]);
        globfree(&files);
    }
    assert_true(is_built_in(MT_SOURCE_DIR "/runtime/softgpu/api/estimate.c"));
    assert_true(is_built_in(MT_SOURCE_DIR "/runtime/softgpu/machine/count.c"));
    assert_true(is_built_in(MT_SOURCE_DIR "/runtime/softgpu/ptx/lists.h"));
    assert_false(is_built_in(MT_SOURCE_DIR "/runtime/softgpu/api/device.c"));
    assert_int_equal(softgpuTimeModel(hash, MODEL_HASH - 1, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(softgpuTimeModel(hash, MODEL_HASH, 1), CUDA_ERROR_INVALID_DEVICE);
    assert_int_equal(softgpuTimeModel(NULL, MODEL_HASH, 0), CUDA_ERROR_INVALID_VALUE);
}

/* Every attribute: those named here, and 0 for all others. */
static void test_attributes(void **state) {
    (void)state;
    static const struct {
        CUdevice_attribute which;
        int value;
    } named[] = {
        {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 9},
        {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 3},
        {CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 7},
        {CU_DEVICE_ATTRIBUTE_CLOCK_RATE, 1111000},
        {CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE, 500000}, /* kHz; 2 * 512 bytes a clock are 512 GB/s */
        {CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH, 4096},
        {CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, 333 * 1024},
        {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, 99 * 1024},
        {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 88 * 1024},
        {CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK, 777},
        {CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR, 55555},
        {CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK, 55555},
        {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, 44 * 32},
        {CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR, 21},
        {CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH, 1},
        {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, 1024},
        {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X, 1024},
        {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y, 1024},
        {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z, 64},
        {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X, 2147483647},
        {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y, 65535},
        {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z, 65535},
        {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, 49152},
        {CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY, 65536},
        {CU_DEVICE_ATTRIBUTE_WARP_SIZE, 32},
        {CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT, 512},
        {CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT, 1},
        {CU_DEVICE_ATTRIBUTE_GPU_OVERLAP, 1},
        {CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS, 1},
        {CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, 1},
        {CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY, 1},
        {CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH, 1},
        {CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED, 1},
        {CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, 1},
    };
    int got = 0;
    for (int which = 1; which < CU_DEVICE_ATTRIBUTE_MAX; which++) {
        int want = 0;
        for (size_t k = 0; k < sizeof named / sizeof *named; k++)
            want = (int)named[k].which == which ? named[k].value : want;
        got = -1;
        good(cuDeviceGetAttribute(&got, (CUdevice_attribute)which, 0));
        if (got != want)
            fail_msg("attribute %d is %d, not %d", which, got, want);
    }
    assert_int_equal(cuDeviceGetAttribute(&got, (CUdevice_attribute)0, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuDeviceGetAttribute(&got, CU_DEVICE_ATTRIBUTE_MAX, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuDeviceGetAttribute(&got, CU_DEVICE_ATTRIBUTE_WARP_SIZE, 1), CUDA_ERROR_INVALID_DEVICE);
    assert_int_equal(cuDeviceGetAttribute(NULL, CU_DEVICE_ATTRIBUTE_WARP_SIZE, 0), CUDA_ERROR_INVALID_VALUE);
    cu_device.profile->compute_capability = 89;
    good(cuDeviceGetAttribute(&got, CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH, 0));
    assert_int_equal(got, 0);
    cu_device.profile->compute_capability = 90;
    good(cuDeviceGetAttribute(&got, CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH, 0));
    assert_int_equal(got, 1);
    cu_device.profile->compute_capability = 93;
}

/* ---- contexts ---- */

static CUcontext current(void) {
    CUcontext out = (CUcontext)(uintptr_t)64;
    good(cuCtxGetCurrent(&out));
    return out;
}

static void test_stack(void **state) {
    (void)state;
    CUcontext a, b, popped = NULL;
    assert_null(current());
    assert_int_equal(cuCtxPopCurrent_v2(&popped), CUDA_ERROR_INVALID_CONTEXT);
    assert_int_equal(cuCtxSynchronize(), CUDA_ERROR_INVALID_CONTEXT);
    good(cuCtxCreate_v2(&a, CU_CTX_SCHED_YIELD, 0)); /* is pushed */
    assert_ptr_equal(current(), a);
    good(cuCtxCreate_v3(&b, NULL, 0, 0, 0));
    assert_ptr_equal(current(), b);
    good(cuCtxPopCurrent_v2(&popped));
    assert_ptr_equal(popped, b);
    assert_ptr_equal(current(), a);
    good(cuCtxPushCurrent_v2(b));
    good(cuCtxPushCurrent_v2(b));
    good(cuCtxPopCurrent_v2(NULL));
    assert_ptr_equal(current(), b);
    good(cuCtxSetCurrent(a)); /* replaces the uppermost */
    assert_ptr_equal(current(), a);
    good(cuCtxPopCurrent_v2(&popped));
    assert_ptr_equal(popped, a);
    assert_ptr_equal(current(), a); /* the first one */
    good(cuCtxSetCurrent(NULL));    /* takes it off */
    assert_null(current());
    good(cuCtxSetCurrent(NULL));
    assert_null(current());
    good(cuCtxSetCurrent(b));
    assert_ptr_equal(current(), b);
    assert_int_equal(cuCtxPushCurrent_v2(NULL), CUDA_ERROR_INVALID_CONTEXT);
    assert_int_equal(cuCtxSetCurrent((CUcontext)state), CUDA_ERROR_INVALID_CONTEXT);
    assert_int_equal(cuCtxGetCurrent(NULL), CUDA_ERROR_INVALID_VALUE);
    assert_ptr_equal(current(), b);
    good(cuCtxDestroy_v2(b)); /* of this thread's uppermost: taken off */
    assert_null(current());
    good(cuCtxPushCurrent_v2(a));
    good(cuCtxPushCurrent_v2(a));
    good(cuCtxDestroy_v2(a)); /* the other entry is left, and leads nowhere */
    CUdeviceptr x;
    assert_int_equal(cuMemAlloc_v2(&x, 8), CUDA_ERROR_CONTEXT_IS_DESTROYED);
    assert_ptr_equal(current(), a);
    assert_int_equal(cuCtxDestroy_v2(a), CUDA_ERROR_INVALID_CONTEXT);
    assert_int_equal(cuCtxPushCurrent_v2(a), CUDA_ERROR_INVALID_CONTEXT);
    good(cuCtxPopCurrent_v2(NULL));
    assert_null(current());
}

static void test_stack_ends(void **state) {
    (void)state;
    CUcontext a, b;
    good(cuCtxCreate_v2(&a, 0, 0));
    for (int k = 1; k < 64; k++)
        good(cuCtxPushCurrent_v2(a));
    refused(cuCtxPushCurrent_v2(a), CUDA_ERROR_INVALID_CONTEXT, "more than 64 contexts are pushed on one thread");
    good(cuCtxSetCurrent(a));
    for (int k = 0; k < 64; k++)
        good(cuCtxPopCurrent_v2(&b));
    assert_null(current());
    good(cuCtxDestroy_v2(a));
    assert_int_equal(cuCtxCreate_v2(NULL, 0, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuCtxCreate_v2(&a, 0, 1), CUDA_ERROR_INVALID_DEVICE);
    CUexecAffinityParam affinity = {0};
    assert_int_equal(cuCtxCreate_v3(&a, &affinity, 1, 0, 0), CUDA_ERROR_NOT_SUPPORTED);
#if CUDA_VERSION >= 12050
    CUctxCreateParams params = {.numExecAffinityParams = 1, .execAffinityParams = &affinity};
    assert_int_equal(cuCtxCreate_v4(&a, &params, 0, 0), CUDA_ERROR_NOT_SUPPORTED);
    CUctxCigParam graphics = {0};
    params = (CUctxCreateParams){.cigParams = &graphics};
    assert_int_equal(cuCtxCreate_v4(&a, &params, 0, 0), CUDA_ERROR_NOT_SUPPORTED);
    params = (CUctxCreateParams){0};
    for (int k = 0; k < 2; k++) { /* parameters that ask for nothing, and none */
        good(cuCtxCreate_v4(&a, k ? NULL : &params, 0, 0));
        assert_ptr_equal(current(), a);
        good(cuCtxDestroy_v2(a));
    }
#endif
    assert_null(current());
}

static void test_contexts_in_any_order(void **state) {
    (void)state;
    CUcontext a[3];
    CUdeviceptr x[3];
    for (int k = 0; k < 3; k++) {
        good(cuCtxCreate_v2(&a[k], 0, 0));
        good(cuMemAlloc_v2(&x[k], 64));
        good(cuCtxPopCurrent_v2(NULL));
    }
    good(cuCtxDestroy_v2(a[1]));
    assert_int_equal(cuCtxSetCurrent(a[1]), CUDA_ERROR_INVALID_CONTEXT);
    for (int k = 0; k < 3; k += 2) {
        good(cuCtxSetCurrent(a[k]));
        good(cuMemGetAddressRange_v2(NULL, NULL, x[k]));
        good(cuCtxSetCurrent(NULL));
    }
    good(cuCtxDestroy_v2(a[0]));
    good(cuCtxSetCurrent(a[2]));
    good(cuMemFree_v2(x[2]));
    good(cuCtxDestroy_v2(a[2]));
    assert_null(current());
}

static void *other_thread(void *context) {
    CUcontext seen = context, popped = NULL;
    good(cuCtxGetCurrent(&seen));
    assert_null(seen); /* each thread has a stack of its own */
    good(cuCtxPushCurrent_v2(context));
    CUdeviceptr x;
    good(cuMemAlloc_v2(&x, 8));
    good(cuMemFree_v2(x));
    good(cuCtxPopCurrent_v2(&popped));
    return popped;
}

static void test_threads(void **state) {
    (void)state;
    CUcontext a;
    pthread_t thread;
    void *popped;
    good(cuCtxCreate_v2(&a, 0, 0));
    assert_int_equal(pthread_create(&thread, NULL, other_thread, a), 0);
    pthread_join(thread, &popped);
    assert_ptr_equal(popped, a);
    assert_ptr_equal(current(), a);
    good(cuCtxDestroy_v2(a));
}

static void test_primary(void **state) {
    (void)state;
    CUcontext a = NULL, b = NULL;
    unsigned flags = 9;
    int active = 9;
    CUdevice device = 9;
    good(cuDevicePrimaryCtxGetState(0, &flags, &active));
    assert_int_equal(flags, 0);
    assert_int_equal(active, 0);
    good(cuDevicePrimaryCtxSetFlags_v2(0, CU_CTX_SCHED_SPIN)); /* for the one to come, or the one there is */
    good(cuDevicePrimaryCtxGetState(0, &flags, &active));
    assert_int_equal(flags, CU_CTX_SCHED_SPIN);
    assert_int_equal(active, 0);
    assert_int_equal(cuDevicePrimaryCtxSetFlags_v2(1, 0), CUDA_ERROR_INVALID_DEVICE);
    assert_int_equal(cuDevicePrimaryCtxRelease_v2(0), CUDA_ERROR_INVALID_CONTEXT);
    good(cuDevicePrimaryCtxRetain(&a, 0));
    assert_null(current()); /* it is not pushed */
    good(cuDevicePrimaryCtxRetain(&b, 0));
    assert_ptr_equal(a, b);
    good(cuCtxSetCurrent(a));
    good(cuCtxGetDevice(&device));
    assert_int_equal(device, 0);
    good(cuDevicePrimaryCtxGetState(0, &flags, &active));
    assert_int_equal(active, 1);
    assert_int_equal(cuCtxDestroy_v2(a), CUDA_ERROR_INVALID_CONTEXT);
    good(cuDevicePrimaryCtxRelease_v2(0));
    good(cuCtxSynchronize()); /* one use is left */
    good(cuDevicePrimaryCtxRelease_v2(0));
    assert_int_equal(cuCtxSynchronize(), CUDA_ERROR_CONTEXT_IS_DESTROYED);
    assert_int_equal(cuDevicePrimaryCtxRelease_v2(0), CUDA_ERROR_INVALID_CONTEXT);
    good(cuDevicePrimaryCtxGetState(0, &flags, &active));
    assert_int_equal(active, 0);
    assert_int_equal(cuDevicePrimaryCtxRetain(NULL, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuDevicePrimaryCtxRetain(&a, 1), CUDA_ERROR_INVALID_DEVICE);
    assert_int_equal(cuDevicePrimaryCtxRelease_v2(1), CUDA_ERROR_INVALID_DEVICE);
    assert_int_equal(cuDevicePrimaryCtxGetState(1, &flags, &active), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuDevicePrimaryCtxGetState(0, NULL, &active), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuDevicePrimaryCtxGetState(0, &flags, NULL), CUDA_ERROR_INVALID_VALUE);
    good(cuCtxPopCurrent_v2(NULL));
}

static void test_context_facts(void **state) {
    (void)state;
    CUcontext a;
    CUdevice device = 9;
    unsigned flags = 0;
    int least = 9, greatest = 9;
    assert_int_equal(cuCtxGetDevice(&device), CUDA_ERROR_INVALID_CONTEXT);
    assert_int_equal(cuCtxGetFlags(&flags), CUDA_ERROR_INVALID_CONTEXT);
    assert_int_equal(cuProfilerStart(), CUDA_ERROR_INVALID_CONTEXT);
    good(cuCtxCreate_v2(&a, CU_CTX_SCHED_BLOCKING_SYNC, 0));
    good(cuCtxGetDevice(&device));
    assert_int_equal(device, 0);
    assert_int_equal(cuCtxGetDevice(NULL), CUDA_ERROR_INVALID_VALUE);
    good(cuCtxGetFlags(&flags));
    assert_int_equal(flags, CU_CTX_SCHED_BLOCKING_SYNC);
    assert_int_equal(cuCtxGetFlags(NULL), CUDA_ERROR_INVALID_VALUE);
    good(cuCtxGetStreamPriorityRange(&least, &greatest));
    assert_int_equal(least, 0);
    assert_int_equal(greatest, 0);
    good(cuCtxGetStreamPriorityRange(NULL, NULL));
    good(cuProfilerStart());
    good(cuProfilerStop());
    a->error = CUDA_ERROR_ASSERT; /* sticky: of what is asked, only what tears down still works */
    assert_int_equal(cuCtxSynchronize(), CUDA_ERROR_ASSERT);
    assert_int_equal(cuProfilerStop(), CUDA_ERROR_ASSERT);
    assert_int_equal(cuCtxGetStreamPriorityRange(&least, &greatest), CUDA_ERROR_ASSERT);
    good(cuCtxGetDevice(&device));
    good(cuCtxGetFlags(&flags));
    good(cuCtxDestroy_v2(a));
}

/* What a context keeps: limits, a preference for caches, a number. */
static void test_context_keeps(void **state) {
    (void)state;
    CUcontext a, b;
    size_t value = 9;
    unsigned version = 0;
    unsigned long long first = 0, second = 0;
    CUfunc_cache cache;
    assert_int_equal(cuCtxGetLimit(&value, CU_LIMIT_STACK_SIZE), CUDA_ERROR_INVALID_CONTEXT);
    assert_int_equal(cuCtxSetLimit(CU_LIMIT_STACK_SIZE, 1), CUDA_ERROR_INVALID_CONTEXT);
    assert_int_equal(cuCtxGetId(NULL, &first), CUDA_ERROR_INVALID_CONTEXT);
    good(cuCtxCreate_v2(&a, 0, 0));
    good(cuCtxGetLimit(&value, CU_LIMIT_MALLOC_HEAP_SIZE));
    assert_int_equal(value, 8 << 20);
    good(cuCtxSetLimit(CU_LIMIT_STACK_SIZE, 4096));
    good(cuCtxGetLimit(&value, CU_LIMIT_STACK_SIZE));
    assert_int_equal(value, 4096);
    assert_int_equal(cuCtxGetLimit(NULL, CU_LIMIT_STACK_SIZE), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuCtxGetLimit(&value, (CUlimit)CU_LIMITS), CUDA_ERROR_UNSUPPORTED_LIMIT);
    assert_int_equal(cuCtxSetLimit((CUlimit)-1, 1), CUDA_ERROR_UNSUPPORTED_LIMIT);
    good(cuCtxSetCacheConfig(CU_FUNC_CACHE_PREFER_L1));
    good(cuCtxGetCacheConfig(&cache));
    assert_int_equal(cache, CU_FUNC_CACHE_PREFER_L1);
    good(cuCtxGetId(NULL, &first));
    good(cuCtxCreate_v2(&b, 0, 0));
    good(cuCtxGetLimit(&value, CU_LIMIT_STACK_SIZE)); /* each has its own */
    assert_int_equal(value, 1024);
    good(cuCtxGetId(NULL, &second));
    assert_true(first != second);
    good(cuCtxGetId(a, &second));
    assert_true(first == second);
    good(cuCtxGetApiVersion(a, &version));
    assert_int_equal(version, 3020);
    good(cuCtxDestroy_v2(b));
    assert_int_equal(cuCtxGetApiVersion(b, &version), CUDA_ERROR_INVALID_CONTEXT);
    assert_int_equal(cuCtxGetId(a, NULL), CUDA_ERROR_INVALID_VALUE);
    good(cuCtxDestroy_v2(a));
}

static CUresult from_callback[2];
static void CUDA_CB call_back(void *argument) {
    CUdeviceptr x;
    (void)argument;
    from_callback[0] = cuMemAlloc_v2(&x, 8);
    from_callback[1] = cuCtxSynchronize();
}

static void test_callback(void **state) {
    (void)state;
    CUcontext a;
    char said[1024];
    struct capture capture;
    good(cuCtxCreate_v2(&a, 0, 0));
    assert_int_equal(cuLaunchHostFunc(NULL, NULL, NULL), CUDA_ERROR_INVALID_VALUE);
    good(cuLaunchHostFunc(NULL, call_back, NULL));
    capture_begin(&capture, STDERR_FILENO);
    const CUresult result = cuCtxSynchronize();
    capture_end(&capture, said, sizeof said);
    good(result);
    assert_int_equal(from_callback[0], CUDA_ERROR_NOT_PERMITTED);
    assert_int_equal(from_callback[1], CUDA_ERROR_NOT_PERMITTED);
    assert_string_equal(said, "softgpu: a host function of a stream must not call the driver\n"
                              "softgpu: a host function of a stream must not call the driver\n");
    good(cuCtxSynchronize()); /* and the lock is not held */
    good(cuCtxDestroy_v2(a));
}

/* ---- names ---- */

static void test_errors(void **state) {
    (void)state;
    static const struct {
        CUresult code;
        const char *name, *text;
    } some[] = {{CUDA_SUCCESS, "CUDA_SUCCESS", "no error"},
                {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
                {CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
                {CUDA_ERROR_INVALID_CLUSTER_SIZE, "CUDA_ERROR_INVALID_CLUSTER_SIZE", "a cluster dimension is invalid"},
                {CUDA_ERROR_STREAM_CAPTURE_ISOLATION, "CUDA_ERROR_STREAM_CAPTURE_ISOLATION",
                 "a dependency would have been created which crosses the captured sequence boundary"},
                {CUDA_ERROR_UNKNOWN, "CUDA_ERROR_UNKNOWN", "unknown error"}};
    const char *name = "kept", *text = "kept";
    for (size_t k = 0; k < sizeof some / sizeof *some; k++) {
        good(cuGetErrorName(some[k].code, &name));
        good(cuGetErrorString(some[k].code, &text));
        assert_string_equal(name, some[k].name);
        assert_string_equal(text, some[k].text);
    }
    assert_int_equal(cuGetErrorName((CUresult)12345, &name), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuGetErrorString((CUresult)12345, &text), CUDA_ERROR_INVALID_VALUE);
    assert_null(name);
    assert_null(text);
    assert_int_equal(cuGetErrorName(CUDA_SUCCESS, NULL), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuGetErrorString(CUDA_SUCCESS, NULL), CUDA_ERROR_INVALID_VALUE);
}

/* The newest version that the program knows; every function that is exported can be found, and is the one of that
 * name. */
static void test_addresses(void **state) {
    (void)state;
    void *at = state;
    CUdriverProcAddressQueryResult found = CU_GET_PROC_ADDRESS_SUCCESS;
    const struct {
        const char *name;
        int version;
        void *address;
    } some[] = {
        {"cuCtxCreate", 11030, (void *)cuCtxCreate_v2},
        {"cuCtxCreate", 12040, (void *)cuCtxCreate_v3},
#if CUDA_VERSION >= 12050
        {"cuCtxCreate", 12050, (void *)cuCtxCreate_v4},
#endif
        {"cuDeviceGetUuid", 11030, (void *)cuDeviceGetUuid},
        {"cuDeviceGetUuid", 11040, (void *)cuDeviceGetUuid_v2},
#if CUDA_VERSION >= 12080
        {"cuEventElapsedTime", 12080, (void *)cuEventElapsedTime_v2},
#endif
        {"cuEventElapsedTime", 12070, (void *)cuEventElapsedTime},
        {"cuMemAlloc", 2000, (void *)cuMemAlloc_v2},
        {"cuGetProcAddress", 12000, (void *)cuGetProcAddress_v2},
        {"cuTensorMapEncodeTiled", 12000, (void *)cuTensorMapEncodeTiled}
    };
    for (size_t k = 0; k < sizeof some / sizeof *some; k++) {
        good(cuGetProcAddress_v2(some[k].name, &at, some[k].version, 0, &found));
        assert_ptr_equal(at, some[k].address);
        assert_int_equal(found, CU_GET_PROC_ADDRESS_SUCCESS);
        at = NULL;
        good(cuGetProcAddress(some[k].name, &at, some[k].version, CU_GET_PROC_ADDRESS_LEGACY_STREAM));
        assert_ptr_equal(at, some[k].address);
    }
    good(cuGetProcAddress_v2("cuNone", &at, 12000, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, &found));
    assert_null(at);
    assert_int_equal(found, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
    assert_int_equal(cuGetProcAddress("cuNone", &at, 12000, 0), CUDA_ERROR_NOT_FOUND);
    assert_int_equal(cuGetProcAddress(NULL, &at, 12000, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuGetProcAddress("cuInit", NULL, 12000, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuGetProcAddress("cuInit", &at, 12000, 8), CUDA_ERROR_INVALID_VALUE);
}

static bool is_version_of(void *library, const char *name, const void *address) {
    static const char *const versions[] = {"", "_v2", "_v3", "_v4"};
    char full[120];
    bool found = false;
    for (int k = 0; k < 4; k++) {
        snprintf(full, sizeof full, "%s%s", name, versions[k]);
        found |= address && dlsym(library, full) == address;
    }
    return found;
}

/* libsoftgpu.so exports these functions and two of its own, and each is found under its name without the version. */
static void test_exports(void **state) {
    (void)state;
    char command[600], line[200], self[400];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(length > 0);
    self[length] = 0;
    for (int k = 0; k < 4; k++)
        *strrchr(self, '/') = 0; /* …/tests/unit/softgpu/test */
    snprintf(command, sizeof command, "%s/libsoftgpu.so", self);
    void *library = access(command, R_OK) == 0 ? dlopen(command, RTLD_NOW | RTLD_LOCAL) : NULL;
    snprintf(command, sizeof command, "nm -D --defined-only %s/libsoftgpu.so", self);
    FILE *pipe = library ? popen(command, "r") : NULL;
    if (!pipe)
        skip();
    CUresult (*find)(const char *, void **, int, cuuint64_t, CUdriverProcAddressQueryResult *) = NULL;
    *(void **)&find = dlsym(library, "cuGetProcAddress_v2");
    assert_non_null((void *)find);
    int count = 0;
    while (fgets(line, sizeof line, pipe)) {
        char *name = strrchr(line, ' ') + 1;
        name[strcspn(name, "\n")] = 0;
        if (strncmp(name, "cu", 2) != 0) {
            if (strcmp(name, "softgpuTimeModel") != 0 && strcmp(name, "softgpuOpen") != 0 && !strstr(name, "asan") &&
                !strstr(name, "ubsan") && !strstr(name, "gcov"))
                fail_msg("%s is exported", name);
            continue;
        }
        char *version = strstr(name, "_v");
        if (version)
            *version = 0;
        void *at = NULL;
        if (find(name, &at, CUDA_VERSION, 0, NULL) != CUDA_SUCCESS || !is_version_of(library, name, at))
            fail_msg("%s is exported and cuGetProcAddress() does not find it", name);
        count++;
    }
    pclose(pipe);
    dlclose(library);
    assert_true(count > 100);
}

int main(void) {
    snprintf(device_path, sizeof device_path, "/tmp/soft-device-XXXXXX");
    close(mkstemp(device_path));
    setenv("SOFTGPU_DEVICE", device_path, 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_init),
        cmocka_unit_test(test_device),
        cmocka_unit_test(test_uuid),
        cmocka_unit_test(test_time_model),
        cmocka_unit_test(test_attributes),
        cmocka_unit_test(test_stack),
        cmocka_unit_test(test_stack_ends),
        cmocka_unit_test(test_contexts_in_any_order),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_primary),
        cmocka_unit_test(test_context_facts),
        cmocka_unit_test(test_context_keeps),
        cmocka_unit_test(test_callback),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_exports),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(device_path);
    return failed;
}
