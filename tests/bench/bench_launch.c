/* Prints how many instructions a launch takes around those of the driver, for kernels that pay for different things:
 * counted by valgrind's callgrind, with a driver that does nothing. Fails if one takes more than MOST.
 *
 * bench_launch KIND only launches: what valgrind is given. */
#include "runtime/base/str.h"
#include "runtime/serve/table.h"
#include "tests/unit/serve/configs.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* As many as a sweep has, so that the slot is found at its true cost. */
enum { TUNED = 13, LAUNCHES = 100, COUNTED_M = 1000, MOST = 500 };

/* All that a driver's function is charged with is told apart by its name. */
CUresult driver_launch(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                       unsigned bz, unsigned shared, CUstream stream, void **params, void **extra);
CUresult driver_encode(CUtensorMap *out, CUtensorMapDataType type, cuuint32_t rank, void *address,
                       const cuuint64_t *size, const cuuint64_t *stride, const cuuint32_t *box, const cuuint32_t *step,
                       CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle, CUtensorMapL2promotion promotion,
                       CUtensorMapFloatOOBfill fill);

static unsigned launched, encoded;

__attribute__((noinline)) CUresult driver_launch(CUfunction function, unsigned gx, unsigned gy, unsigned gz,
                                                 unsigned bx, unsigned by, unsigned bz, unsigned shared,
                                                 CUstream stream, void **params, void **extra) {
    (void)function, (void)gx, (void)gy, (void)gz, (void)bx, (void)by, (void)bz;
    (void)shared, (void)stream, (void)params, (void)extra;
    launched++;
    return CUDA_SUCCESS;
}

__attribute__((noinline)) CUresult driver_encode(CUtensorMap *out, CUtensorMapDataType type, cuuint32_t rank,
                                                 void *address, const cuuint64_t *size, const cuuint64_t *stride,
                                                 const cuuint32_t *box, const cuuint32_t *step,
                                                 CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                                                 CUtensorMapL2promotion promotion, CUtensorMapFloatOOBfill fill) {
    (void)out, (void)type, (void)rank, (void)address, (void)size, (void)stride;
    (void)box, (void)step, (void)interleave, (void)swizzle, (void)promotion, (void)fill;
    encoded++;
    return CUDA_SUCCESS;
}

/* A kind of kernel that pays for something of its own. */
struct kind {
    const char *name;
    int cc, sm_count;
    struct bundle_layer layer;
    const char *family, *config;
    unsigned maps; /* tensor maps of a launch */
};

#define SM90_STORED                                                                                                    \
    "blocks=1,blocks8=0,tile_m=16,tile_k=0,stages=4,consumers=2,pingpong=0,share_k=0,cluster=2,cluster_k=1,store=1,"   \
    "ctas=1,promote=2,zero=0,yield=0,split_k=2,stream_k=0,raster=1"

static const struct kind kinds[] = {
    {"sm80", 80, 108, {"qkv", "", 1, 6144, 4096, 128, 0, "w4a8", "fp16"}, "sm80", SM80(64, 0, 16, 3, 2, 1, 0, 1, 1), 0},
    {"sm80 mixed, split-K",
     80,
     108,
     {"qkv", "", 1, 6144, 4096, 128, 410, "mixed", "fp16"},
     "sm80",
     SM80(64, 64, 16, 3, 2, 1, 0, 4, 1),
     0},
    {"sm90", 90, 132, {"qkv", "", 1, 6144, 4096, 128, 0, "w4a8", "fp16"}, "sm90", SM90(16, 4, 0, 1, 0), 1},
    {"sm90 mixed, clusters, split-K, stored by map",
     90,
     132,
     {"qkv", "", 1, 6144, 4096, 128, 410, "mixed", "fp16"},
     "sm90",
     SM90_STORED,
     2},
    {"sm90 stream-K", 90, 132, {"qkv", "", 1, 6144, 4096, 128, 0, "w4a8", "fp16"}, "sm90", SM90(16, 4, 0, 1, 2), 1},
};
enum { KINDS = (int)(sizeof kinds / sizeof *kinds) };

/* ---- launching ---- */

static void check(enum mt_status status) {
    if (status == MT_OK)
        return;
    fprintf(stderr, "bench_launch: %s\n", fail_message());
    exit(status);
}

static struct mt_table *open_kind(const struct kind *kind, struct kernel *quantize) {
    const struct device_limits limits = {kind->cc, kind->sm_count, 227 << 10, 228 << 10, 65536, 2048};
    struct bundle_image image = {.hash = "a", .data = "a", .size = 1};
    struct bundle_entry entries[TUNED];
    struct mt_table *table;
    for (int i = 0; i < TUNED; i++)
        entries[i] = (struct bundle_entry){.m = 1 << i,
                                           .kind = BUNDLE_KERNEL,
                                           .family = kind->family,
                                           .config = kind->config,
                                           .image_hash = "a",
                                           .expected_ns = 5000 + 100 * (1 << i)};
    struct bundle bundle = {.fingerprint = {.gpu = "",
                                            .cc = kind->cc,
                                            .sm_count = kind->sm_count,
                                            .template_hash = "",
                                            .layout = MT_LAYOUT},
                            .layers = &kind->layer,
                            .layer_count = 1,
                            .entries = entries,
                            .entry_count = TUNED,
                            .images = &image,
                            .image_count = 1};
    images_built(&bundle, &image);
    check(table_build(&bundle, &limits, 0, false, &table));
    table->dev = (struct device){.cc = kind->cc,
                                 .sm_count = kind->sm_count,
                                 .drv = {.LaunchKernel = driver_launch, .TensorMapEncodeTiled = driver_encode}};
    for (int i = 0; i < table->layers[0].slot_count; i++)
        table->layers[0].slots[i].kernel.clusters = 60;
    table->layers[0].quantize = quantize;
    check(layer_set_ranges(&table->layers[0]));
    table->layers[0].loaded = true;
    return table;
}

/* LAUNCHES of both functions, with all operands that the kind can have. */
static void launch_all(const struct kind *kind) {
    enum { SOMEWHERE = 1 << 20 };
    struct kernel quantize = {0};
    struct mt_table *table = open_kind(kind, &quantize);
    const struct mt_layer *layer = mt_table_layer_at(table, 0);
    const struct mt_activations acts = {sizeof acts, SOMEWHERE, SOMEWHERE, SOMEWHERE};
    struct mt_weights weights = {.size = sizeof weights, .layout = MT_LAYOUT};
    weights.rows[MT_W8] = kind->layer.rows8;
    weights.rows[MT_W4] = kind->layer.n - kind->layer.rows8;
    for (int i = 0; i < 2; i++)
        weights.weights[i] = weights.scales[i] = weights.zeros[i] = weights.columns[i] = SOMEWHERE;
    const struct mt_gemm_operands gemm = {.size = sizeof gemm,
                                          .m = COUNTED_M,
                                          .ldy = kind->layer.n,
                                          .flags = MT_PROGRAMMATIC,
                                          .weights = &weights,
                                          .x = &acts,
                                          .bias = SOMEWHERE,
                                          .y = SOMEWHERE,
                                          .workspace = SOMEWHERE,
                                          .workspace_bytes = (size_t)1 << 32};
    const struct mt_quantize_operands q = {sizeof q, COUNTED_M, kind->layer.k, SOMEWHERE, &acts};
    for (int i = 0; i < LAUNCHES; i++) {
        check(mt_quantize_launch(table, layer, &q, NULL));
        check(mt_gemm_launch(table, layer, &gemm, NULL));
    }
    if (launched != 2 * LAUNCHES || encoded != kind->maps * LAUNCHES) {
        fprintf(stderr, "bench_launch: %u launches and %u tensor maps\n", launched, encoded);
        exit(1);
    }
    table_release(table);
}

/* ---- counting ---- */

/* Instructions of one call of `function` and what it calls, but for the driver; -1: valgrind does not count them. */
static long count_of(const char *self, const char *function, int kind) {
    char command[1024], line[256];
    long collected = -1;
    snprintf(command, sizeof command,
             "exec valgrind --tool=callgrind --callgrind-out-file=/dev/null --collect-atstart=no --toggle-collect=%s "
             "--toggle-collect=driver_launch --toggle-collect=driver_encode '%s' %d 2>&1",
             function, self, kind);
    FILE *out = popen(command, "r");
    while (out && fgets(line, sizeof line, out)) {
        const char *found = strstr(line, "Collected : ");
        if (found)
            collected = strtol(found + strlen("Collected : "), NULL, 10);
    }
    return out && pclose(out) == 0 && collected >= 0 ? collected / LAUNCHES : -1;
}

static bool tell(const char *self, const char *function, int kind, const char *name) {
    const long count = count_of(self, function, kind);
    if (count < 0)
        printf("launch: no number of instructions (%s), for valgrind cannot run this\n", name);
    else
        printf("launch: %ld instructions (%s)\n", count, name);
    if (count > MOST)
        fprintf(stderr, "bench_launch: %ld instructions are more than %d\n", count, MOST);
    return count <= MOST;
}

int main(int argc, char **argv) {
    if (argc > 1) {
        launch_all(&kinds[atoi(argv[1]) % KINDS]);
        return 0;
    }
    if (system("valgrind --version >/dev/null 2>&1") != 0) {
        printf("launch: its instructions are not counted, for there is no valgrind here\n");
        return 0;
    }
    bool good = tell(argv[0], "mt_quantize_launch", 0, "quantise");
    for (int i = 0; i < KINDS; i++)
        good = tell(argv[0], "mt_gemm_launch", i, kinds[i].name) && good;
    return good ? 0 : 1;
}
