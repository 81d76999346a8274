/* MT_BATCH_INVARIANT: the same rows at random places of batches of many sizes have the same bits, whatever kernels the
 * sizes run, on both devices. Without the flag they have not. */
#include "parts.h"
#include "runtime/layer/half.h"
#include "runtime/mixtune.h"
#include "runtime/serve/table.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

enum { N = 150, K = 900, ROWS = 90, LAYERS = 2 };

static const struct bundle_layer layers[LAYERS] = {{"mixed", "", 1, N, K, 128, 40, "mixed", "fp16"},
                                                   {"wide", "", 1, N, K, 128, N, "w8a8", "fp16"}};
struct tuned {
    int m;
    const char *family, *config;
};
static const struct tuned ampere[] = {
    {1, "sm80", "tile_n=64,tile_m=8,stages=3,warps_n=2,split_k=4"},
    {9, "sm80", "tile_n=32,tile_m=16,stages=3,warps_n=2,promote=0"},
    {24, "sm80", "tile_n=128,tile_m=32,stages=3,warps_n=4,split_k=3,promote=1"},
    {60, "sm80", "tile_n=64,tile_m=32,stages=3,warps_n=2,warps_m=2,raster=2"},
    {0, NULL, NULL},
};
static const struct tuned hopper[] = {
    {1, "sm90", "blocks=1,tile_m=16,stages=8,consumers=1,split_k=4"},
    {9, "sm80", "tile_n=64,tile_m=16,stages=3,warps_n=2,split_k=3"},
    {17, "sm90", "blocks=1,tile_m=32,stages=6,consumers=2,stream_k=2"},
    {33, "sm90", "blocks=1,tile_m=32,stages=4,cluster=2,consumers=1"},
    {48, "sm90", "blocks=1,tile_m=32,stages=4,consumers=2,cluster_k=2"}, /* cannot: it is left out */
    {70, "sm90", "blocks=1,tile_m=64,stages=4,consumers=2,pingpong=1,raster=2,split_k=2"},
    {0, NULL, NULL},
};

static struct device dev;
static char path[] = "/tmp/mixtune-invariant-XXXXXX";

static void bundle_make(const struct tuned *tuned) {
    struct parts *parts = xmalloc(sizeof *parts);
    parts_init(parts, &dev, layers, LAYERS);
    for (int layer = 0; layer < LAYERS; layer++)
        for (const struct tuned *t = tuned; t->m; t++)
            parts_entry(parts, layer, t->m, t->family, t->config, 1000.0 * t->m);
    const struct problem p = parts_problem(&layers[0]);
    parts_quantize(parts, &p);
    take(bundle_write(path, &parts->bundle));
    parts_release(parts);
    free(parts);
}

/* What lies on the device for one layer, with room for all rows. */
struct served {
    struct mt_weights weights;
    struct mt_activations acts;
    CUdeviceptr x, y, workspace;
    size_t workspace_bytes;
};

static CUdeviceptr allocate(size_t bytes) {
    CUdeviceptr at;
    take(device_check(&dev, dev.drv.MemAlloc(&at, bytes), "allocating"));
    take(device_check(&dev, dev.drv.MemsetD8(at, 0, bytes), "clearing"));
    return at;
}

static void served_init(struct served *s, const struct mt_table *table, const struct mt_layer *layer, const float *w) {
    struct mt_packed *packed;
    const size_t factors = (size_t)layer->info.groups * ROWS * 4;
    *s = (struct served){.weights = {.size = sizeof s->weights},
                         .acts = {.size = sizeof s->acts,
                                  .codes = allocate((size_t)layer->info.k_padded * ROWS),
                                  .scales = allocate(factors),
                                  .sums = allocate(factors)},
                         .x = allocate(sizeof(uint16_t) * ROWS * K),
                         .y = allocate(sizeof(uint16_t) * ROWS * N),
                         .workspace_bytes = mt_workspace_bytes(table, layer, ROWS)};
    if (s->workspace_bytes)
        s->workspace = allocate(s->workspace_bytes);
    take(mt_pack_float(layer, w, NULL, &packed));
    take(mt_weights_upload(table, packed, &s->weights));
    mt_packed_free(packed);
}

static void served_release(struct served *s, const struct mt_table *table) {
    const CUdeviceptr memory[] = {s->acts.codes, s->acts.scales, s->acts.sums, s->x, s->y, s->workspace};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
        if (memory[i])
            dev.drv.MemFree(memory[i]);
    mt_weights_free(table, &s->weights);
}

/* Runs the rows of `x` whose numbers are the first m of `order`. */
static void batch_run(const struct mt_table *table, const struct mt_layer *layer, const struct served *s,
                      const uint16_t *x, const int *order, int m, uint16_t *y) {
    static uint16_t batch[ROWS * K];
    for (int i = 0; i < m; i++)
        memcpy(batch + i * K, x + order[i] * K, sizeof *batch * K);
    take(device_check(&dev, dev.drv.MemcpyHtoD(s->x, batch, sizeof *batch * (size_t)m * K), "copying"));
    const struct mt_quantize_operands quantize = {
        .size = sizeof quantize, .m = m, .ldx = K, .x = s->x, .out = &s->acts};
    const struct mt_gemm_operands gemm = {.size = sizeof gemm,
                                          .m = m,
                                          .ldy = N,
                                          .weights = &s->weights,
                                          .x = &s->acts,
                                          .y = s->y,
                                          .workspace = s->workspace,
                                          .workspace_bytes = s->workspace_bytes};
    take(mt_quantize_launch(table, layer, &quantize, NULL));
    take(mt_gemm_launch(table, layer, &gemm, NULL));
    take(device_check(&dev, dev.drv.CtxSynchronize(), "running"));
    take(device_check(&dev, dev.drv.MemcpyDtoH(y, s->y, sizeof *y * (size_t)m * N), "copying"));
}

static void shuffle(int *order) {
    for (int i = 0; i < ROWS; i++)
        order[i] = i;
    for (int i = ROWS - 1; i > 0; i--) {
        int j = (int)(drand48() * (i + 1)), held = order[i];
        order[i] = order[j];
        order[j] = held;
    }
}

/* How many rows had other bits than when they were first seen. */
static int rows_that_differ(const struct mt_table *table, const struct mt_layer *layer, const float *w,
                            const uint16_t *x) {
    static const int batches[] = {ROWS, 1, 2, 8, 9, 10, 16, 17, 24, 25, 33, 40, 48, 59, 60, 64, 70, 71, 90};
    static uint16_t first[ROWS * N], y[ROWS * N];
    struct served served;
    int order[ROWS], differ = 0;
    bool seen[ROWS] = {false};
    served_init(&served, table, layer, w);
    for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
        shuffle(order);
        batch_run(table, layer, &served, x, order, batches[i], y);
        for (int at = 0; at < batches[i]; at++) {
            const int row = order[at];
            if (!seen[row])
                memcpy(first + row * N, y + at * N, sizeof *y * N);
            differ += memcmp(first + row * N, y + at * N, sizeof *y * N) != 0;
            seen[row] = true;
        }
    }
    served_release(&served, table);
    return differ;
}

static void check(const char *device, const struct tuned *tuned, int kept) {
    static float w[N * K];
    static uint16_t x[ROWS * K];
    for (int i = 0; i < N * K; i++)
        w[i] = (float)drand48() - 0.5f;
    for (int i = 0; i < ROWS * K; i++)
        x[i] = half_from_float((float)drand48() * 6 - 3);
    take(device_open(&dev, device));
    bundle_make(tuned);
    for (int invariant = 0; invariant < 2; invariant++) {
        struct mt_table *table;
        take(mt_table_open(path, invariant ? MT_BATCH_INVARIANT : 0, &table));
        take(mt_table_load(table, NULL));
        for (int i = 0; i < LAYERS; i++) {
            const struct mt_layer *layer = mt_table_layer_at(table, i);
            if (invariant)
                assert_int_equal(layer->slot_count, kept);
            const int differ = rows_that_differ(table, layer, w, x);
            if ((differ == 0) != (invariant == 1))
                fail_msg("%s, layer %s, %s the flag: %d rows differ", device, layer->info.name,
                         invariant ? "with" : "without", differ);
        }
        mt_table_close(table);
    }
    device_close(&dev);
}

static void on_ampere(void **state) {
    (void)state;
    check("soft:a100-sxm-80g", ampere, 4);
}

static void on_hopper(void **state) {
    (void)state;
    check("soft:h100-sxm", hopper, 5);
}

static int set_up(void **state) {
    (void)state;
    srand48(11);
    const int file = mkstemp(path);
    return file < 0 ? -1 : close(file);
}

static int tear_down(void **state) {
    (void)state;
    return unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_ampere),
        cmocka_unit_test(on_hopper),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
