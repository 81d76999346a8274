/* Memory that is short: the first, second, third ... allocation of each path through the library fails, alone or with
 * all that follow, in the libraries below it, too. Each is a status with a sentence, and nothing is leaked.
 *
 * This program has functions by the names of the allocator's, which everything in the process calls. What the driver
 * allocates, below tests/unit/gpu/failing_cuda.c, does not fail: the software device cannot go on without memory. */
#include "runtime/base/parallel.h"
#include "runtime/base/str.h"
#include "runtime/mixtune.h"
#include "runtime/serve/table.h"
#include "tests/device/parts.h"
#include "tests/unit/checkpoint/make_packed.h"
#include "tests/unit/gpu/failing_cuda.h"
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

/* ---- the allocator ---- */

static struct watch {
    bool watching, sparing, lasting; /* sparing: nothing fails now; lasting: all that follow fail, too */
    int at, calls, failed;           /* the call that fails, counted from 1; the calls so far, and those that failed */
    long live;                       /* blocks that are held */
} volatile memory;                   /* the compiler takes it that allocating changes no variable */
static struct failing_cuda *driver;

#ifdef __SANITIZE_ADDRESS__
#define REAL(name) __interceptor_##name
enum { MODES = 1, STRIDE = 3 }; /* a sanitizer takes its time: every third, alone */
const char *__asan_default_options(void);
__attribute__((visibility("default"))) const char *__asan_default_options(void) {
    return "detect_leaks=0"; /* they are counted here, and the loader's cannot be told from others */
}
#else
#define REAL(name) __libc_##name
enum { MODES = 2, STRIDE = 1 };
#endif
void *REAL(malloc)(size_t size);
void *REAL(calloc)(size_t count, size_t size);
void *REAL(realloc)(void *old, size_t size);
void *REAL(memalign)(size_t alignment, size_t size);
void REAL(free)(void *block);

static bool is_ours(void) {
    return memory.watching && !(driver && driver->inside);
}

static bool fails(void) {
    if (!is_ours() || memory.sparing || ++memory.calls < memory.at || (memory.calls > memory.at && !memory.lasting) ||
        !memory.at)
        return false;
    memory.failed++;
    errno = ENOMEM;
    return true;
}

static void *counted(void *block) {
    memory.live += block && is_ours();
    return block;
}

#pragma GCC visibility push(default) /* for the libraries, too */
void *malloc(size_t size) {
    return fails() ? NULL : counted(REAL(malloc)(size));
}

void *calloc(size_t count, size_t size) {
    return fails() ? NULL : counted(REAL(calloc)(count, size));
}

void *realloc(void *old, size_t size) {
    if (fails())
        return NULL;
    void *block = REAL(realloc)(old, size);
    memory.live += block && !old && is_ours();
    return block;
}

void *memalign(size_t alignment, size_t size) {
    return fails() ? NULL : counted(REAL(memalign)(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size) {
    return memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size) {
    void *block = memalign(alignment, size);
    *out = block ? block : *out;
    return block ? 0 : ENOMEM;
}

char *strdup(const char *text) { /* AddressSanitizer's does not ask malloc() */
    const size_t bytes = strlen(text) + 1;
    char *copy = malloc(bytes);
    return copy ? memcpy(copy, text, bytes) : NULL;
}

void free(void *block) {
    memory.live -= block && is_ours();
    REAL(free)(block);
}
#pragma GCC visibility pop

/* ---- paths ---- */

static enum mt_status watched(enum mt_status (*path)(void), int at, bool lasting) {
    const int own_errno = errno;
    memory = (struct watch){.watching = true, .lasting = lasting, .at = at};
    enum mt_status status = path();
    dlerror(); /* the loader keeps its last sentence until it is asked for */
    memory.watching = false;
    errno = own_errno;
    return status;
}

static int told; /* sentences that speak of memory */

static void check_told(const char *what, enum mt_status status) {
    const char *sentence = mt_error_message();
    if (status == MT_OK)
        return; /* it could do without */
    if (!*sentence || strchr(sentence, '\n'))
        fail_msg("%s: allocation %d failed, and the sentence is '%s'", what, memory.at, sentence);
    told += strstr(sentence, "emory") != NULL;
    if (getenv("TELL"))
        print_message("%s %d: %d %s\n", what, memory.at, status, sentence);
}

/* Runs `path` until none of its allocations is left to fail. `most`: that it may have. */
static void every_allocation_fails(const char *what, enum mt_status (*path)(void), int most) {
    take(watched(path, 0, false)); /* what is made once is there from now on */
    for (int lasting = 0; lasting < MODES; lasting++) {
        int at = 0, refused = 0;
        enum mt_status status;
        told = 0;
        do {
            const int held = driver->held;
            at += STRIDE;
            status = watched(path, at, lasting);
            check_told(what, status);
            refused += status != MT_OK;
            if (memory.live != 0 || driver->held != held)
                fail_msg("%s: allocation %d failed, and %ld blocks and %d things of the driver are held", what, at,
                         memory.live, driver->held - held);
        } while (memory.failed);
        take(status);
        print_message("%s: %d allocations%s, %d refused, %d for want of memory\n", what, at - STRIDE,
                      lasting ? " and all that follow" : "", refused, told);
        assert_true(at - STRIDE <= most);
        assert_true(told * 10 >= refused * 9);
    }
}

/* ---- what is served ---- */

static struct device dev;
/* bare: the bundle without kernels, which are in the cache; other: of another GPU, whose images do not run here. */
static struct str folder, bundle, bare, other, checkpoint;
static struct mt_table *table;

enum { N = 70, K = 300, ROWS8 = 20, M = 3 };
static const struct bundle_layer layers[] = {
    {"a", "model", 1, N, K, 128, ROWS8, "mixed", "fp16"},
    {"b", "model", 1, 48, 256, 64, 0, "w4a8", "bf16"},
};
static const char config[] = "tile_n=64,tile_m=8,stages=2,warps_n=2,split_k=2";

static void write_bundle(void) {
    struct parts *parts = xmalloc(sizeof *parts);
    parts_init(parts, &dev, layers, 2);
    for (int i = 0; i < 2; i++) {
        const struct problem p = parts_problem(&layers[i]);
        parts_entry(parts, i, 1, "sm80", config, 1000);
        parts_entry(parts, i, 16, "sm80", config, 2000);
        parts_quantize(parts, &p);
    }
    const struct problem p = parts_problem(&layers[0]);
    parts_default(parts, &p, "sm80");
    take(bundle_write(bundle.data, &parts->bundle));
    const struct bundle_fingerprint own = parts->bundle.fingerprint;
    parts->bundle.fingerprint.gpu = "Another GPU";
    parts->bundle.fingerprint.cc = 90;
    take(bundle_write(other.data, &parts->bundle));
    parts->bundle.fingerprint = own;
    for (int i = 0; i < parts->bundle.entry_count; i++)
        parts->entries[i].image_hash = "";
    for (int i = 0; i < parts->bundle.fallback_count; i++)
        parts->fallbacks[i].image_hash = "";
    const int images = parts->bundle.image_count;
    parts->bundle.image_count = 0;
    take(nvrtc_version(&parts->bundle.fingerprint.toolkit));
    take(bundle_write(bare.data, &parts->bundle));
    parts->bundle.image_count = images;
    parts_release(parts);
    free(parts);
}

static void write_checkpoint(void) {
    static const struct made_layer made_layers[] = {
        {"model.layers.0", "a", N, K, ROWS8, 128, false, TENSOR_F32, 1, 0},
        {"model.layers.0", "b", 48, 256, 0, 64, false, TENSOR_OTHER, 1, 0},
    };
    static const char *const files[] = {"one.safetensors"};
    struct str path = {0};
    take(folder_make(checkpoint.data));
    str_printf(&path, "%s/%s", checkpoint.data, files[0]);
    make_packed_file(path.data, made_layers, 2, 7);
    make_packed_index(checkpoint.data, files, 1, "model");
    str_release(&path);
}

/* The library is asked as its users ask it: every path is one of public functions. */
static enum mt_status open_and_close(const char *path) {
    struct mt_table *own;
    enum mt_status status = mt_table_open(path, 0, &own);
    assert_true((status == MT_OK) == (own != NULL));
    if (status == MT_OK)
        status = mt_table_load(own, NULL);
    mt_table_close(own);
    return status;
}

static enum mt_status open_table(void) {
    return open_and_close(bundle.data);
}

static enum mt_status open_bare(void) {
    return open_and_close(bare.data);
}

/* Two layers, one of them loaded: what stands in is compiled. */
static enum mt_status open_other(void) {
    struct mt_table *own;
    enum mt_status status = mt_table_open(other.data, MT_ALLOW_OTHER_GPU, &own);
    if (status == MT_OK)
        status = mt_table_load(own, mt_table_layer_at(own, 0));
    mt_table_close(own);
    return status;
}

static enum mt_status open_checkpoint(void) {
    struct mt_weights_file *file;
    struct mt_weights_info info = {.size = sizeof info};
    struct mt_packed packed = {.size = sizeof packed};
    uint16_t bias[N];
    enum mt_status status = mt_weights_open(checkpoint.data, MT_WEIGHTS_CHECK, &file);
    assert_true((status == MT_OK) == (file != NULL));
    if (status == MT_OK)
        status = mt_weights_layer(file, "model.layers.0.a", &info, &packed);
    if (status == MT_OK)
        status = mt_weights_bias(file, info.name, MT_FP16, bias);
    mt_weights_close(file);
    return status;
}

static float weights[N * K];
static int8_t codes[N * K];
static uint16_t scales[3 * N];
static uint8_t zeros[3 * N], is8[N];

static enum mt_status pack(void) {
    struct mt_packed *packed;
    const struct mt_layer *layer = mt_table_layer_at(table, 0);
    enum mt_status status = mt_pack_float(layer, weights, NULL, &packed);
    assert_true((status == MT_OK) == (packed != NULL));
    mt_packed_free(packed);
    if (status != MT_OK)
        return status;
    status = mt_pack_codes(layer, codes, scales, zeros, is8, &packed);
    assert_true((status == MT_OK) == (packed != NULL));
    mt_packed_free(packed);
    return status;
}

/* Features are chosen, and a part is filled up. */
static enum mt_status pack_filled(void) {
    static const struct mt_layer layer = {.problem = {.n = N, .k = K, .group = 64, .rows8 = 16}};
    struct mt_packed *packed;
    uint8_t few[N] = {[3] = 1, [60] = 1};
    enum mt_status status = mt_pack_float(&layer, weights, few, &packed);
    assert_true((status == MT_OK) == (packed != NULL));
    mt_packed_free(packed);
    return status;
}

/* A layer that is made stays until its table is closed, so each try has a table of its own. */
static enum mt_status derive(void) {
    const struct mt_layer *split, *near = NULL, *standard = NULL;
    struct mt_query query = MT_QUERY_INIT;
    struct mt_table *own;
    memory.sparing = true;
    take(mt_table_open(bundle.data, 0, &own));
    take(mt_table_load(own, NULL));
    memory.sparing = false;
    query.name = "a";
    query.rows8 = 50;
    enum mt_status status = mt_table_layer_named(own, &query, &split);
    assert_true((status == MT_OK) == (split != NULL));
    const struct mt_shape shapes[] = {{sizeof *shapes, 60, 280, 20, 128, MT_FP16, 0},
                                      {sizeof *shapes, 4000, 9000, 20, 128, MT_FP16, 0}};
    if (status == MT_OK)
        status = mt_table_layer_shaped(own, &shapes[0], &near);
    if (status == MT_OK)
        status = mt_table_layer_shaped(own, &shapes[1], &standard);
    assert_true((status == MT_OK) == (standard != NULL));
    mt_table_close(own);
    return status;
}

/* ---- what allocates nothing ---- */

static struct {
    struct mt_weights weights;
    struct mt_activations acts;
    struct mt_quantize_operands quantize;
    struct mt_gemm_operands gemm;
} run;

static struct mt_packed *packed_once;

static enum mt_status upload(void) {
    struct mt_weights own = {.size = sizeof own};
    enum mt_status status = mt_weights_upload(table, packed_once, &own);
    mt_weights_free(table, &own);
    return status;
}

static enum mt_status look_up_and_launch(void) {
    const struct mt_layer *layer = mt_table_layer_at(table, 0);
    struct mt_choice choice = {.size = sizeof choice};
    enum mt_status status = mt_table_lookup(table, layer, M, &choice);
    if (status == MT_OK)
        status = mt_quantize_launch(table, layer, &run.quantize, NULL);
    return status == MT_OK ? mt_gemm_launch(table, layer, &run.gemm, NULL) : status;
}

static CUdeviceptr zeroed(size_t bytes) {
    CUdeviceptr to;
    take(device_check(&dev, dev.drv.MemAlloc(&to, bytes), "allocating"));
    take(device_check(&dev, dev.drv.MemsetD8(to, 0, bytes), "clearing"));
    return to;
}

static void prepare_launch(void) {
    const struct mt_layer *layer = mt_table_layer_at(table, 0);
    run.weights.size = sizeof run.weights;
    take(mt_pack_float(layer, weights, NULL, &packed_once));
    take(mt_weights_upload(table, packed_once, &run.weights));
    run.acts = (struct mt_activations){sizeof run.acts, zeroed(M * 384), zeroed(M * 12), zeroed(M * 12)};
    run.quantize = (struct mt_quantize_operands){
        .size = sizeof run.quantize, .m = M, .ldx = K, .x = zeroed(M * K * 2), .out = &run.acts};
    run.gemm = (struct mt_gemm_operands){.size = sizeof run.gemm,
                                         .m = M,
                                         .ldy = N,
                                         .weights = &run.weights,
                                         .x = &run.acts,
                                         .y = zeroed(M * N * 2),
                                         .workspace_bytes = mt_workspace_bytes(table, layer, M)};
    run.gemm.workspace = zeroed(run.gemm.workspace_bytes);
}

/* ---- tests ---- */

static void opening(void **state) {
    (void)state;
    every_allocation_fails("mt_table_open", open_table, 100000);
    every_allocation_fails("mt_table_open without kernels", open_bare, 100000);
    every_allocation_fails("mt_table_open for another GPU", open_other, 100000);
}

static void other_layers(void **state) {
    (void)state;
    every_allocation_fails("layers that were not tuned", derive, 1000);
}

static void packing(void **state) {
    (void)state;
    every_allocation_fails("mt_pack_float and mt_pack_codes", pack, 1000);
    every_allocation_fails("mt_pack_float that fills up", pack_filled, 1000);
}

static void checkpoints(void **state) {
    (void)state;
    every_allocation_fails("mt_weights_open", open_checkpoint, 100000);
}

static void what_allocates_nothing(void **state) {
    (void)state;
    prepare_launch();
    every_allocation_fails("mt_weights_upload", upload, 0);
    every_allocation_fails("a lookup and launches", look_up_and_launch, 0);
    take(device_check(&dev, dev.drv.CtxSynchronize(), "launching"));
    mt_packed_free(packed_once);
}

static int set_up(void **state) {
    (void)state;
    static char name[] = "/tmp/mixtune-short-XXXXXX";
    for (int i = 0; i < N * K; i++)
        weights[i] = sinf((float)i);
    for (int i = 0; i < 3 * N; i++)
        scales[i] = 0x2c00;
    for (int i = 0; i < ROWS8; i++)
        is8[3 * i] = 1;
    parallel_limit(1); /* a thread's stack is kept for the next one */
    if (!mkdtemp(name))
        return -1;
    str_append(&folder, name);
    str_printf(&bundle, "%s/bundle", name);
    str_printf(&bare, "%s/bare", name);
    str_printf(&other, "%s/other", name);
    str_printf(&checkpoint, "%s/checkpoint", name);
    struct str path = {0};
    own_folder(&path);
    str_append(&path, "/../gpu/failing_cuda.so");
    void *library = dlopen(str_text(&path), RTLD_NOW | RTLD_LOCAL);
    driver = library ? dlsym(library, "failing_cuda") : NULL;
    str_release(&path);
    if (!driver)
        return -1;
    take(device_open(&dev, "cuda:0"));
    write_bundle();
    write_checkpoint();
    take(mt_table_open(bundle.data, 0, &table));
    take(mt_table_load(table, NULL));
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    struct str command = {0};
    mt_table_close(table);
    device_close(&dev);
    str_printf(&command, "rm -rf '%s'", folder.data);
    const int rc = system(command.data);
    str_release(&command);
    str_release(&folder);
    str_release(&bundle);
    str_release(&bare);
    str_release(&other);
    str_release(&checkpoint);
    return rc;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opening),     cmocka_unit_test(other_layers),           cmocka_unit_test(packing),
        cmocka_unit_test(checkpoints), cmocka_unit_test(what_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
