/* Prints how long a bundle takes to be written, opened (but for its images, which a driver loads) and asked for all of
 * its layers, by the number of its rows: many models at several degrees of tensor parallelism, each layer with splits
 * of its own, a winner at 13 batch sizes, the times of its neighbours' winners and their variants. Best of some rounds.
 *
 * bench_open ROWS: one round with so many rows, which tests/cli/test_costs.sh counts the instructions of. */
#include "runtime/base/str.h"
#include "runtime/layer/split.h"
#include "runtime/serve/table.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Of one layer: splits that were tuned, each at TUNED batch sizes, where TIMES others were timed, with VARIANTS. */
enum { SPLITS = 6, TUNED = 13, TIMES = 6, VARIANTS = 1, ROWS = TUNED + TIMES + VARIANTS };
enum { CONFIGS = 48, TEXT = 160 };

static const struct device_limits limits = {80, 108, 166912, 167936, 65536, 2048};

struct made {
    struct bundle bundle;
    struct bundle_layer *layers;
    struct bundle_entry *entries;
    struct bundle_time *times;
    struct bundle_build *variants;
    struct bundle_image *images;
    char (*names)[24]; /* of layers' models */
    char (*config)[TEXT];
    char (*built)[400]; /* of images */
    char (*hash)[BUNDLE_NAME_TEXT];
    int image_of[CONFIGS][3];
};

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void check(enum mt_status status) {
    if (status == MT_OK)
        return;
    fprintf(stderr, "bench_open: %s\n", fail_message());
    exit(status);
}

/* ---- the bundle ---- */

static void configs_make(struct made *made) {
    static const int tile_n[] = {32, 64, 128}, tile_m[] = {8, 16}, split[] = {1, 2}, stages[] = {3, 4, 5, 6};
    for (int i = 0; i < CONFIGS; i++)
        snprintf(made->config[i], TEXT,
                 "tile_n=%d,tile_n8=0,tile_m=%d,tile_k=0,stages=%d,warps_n=2,warps_m=1,ctas=1,promote=2,zero=0,order=1,"
                 "split_k=%d,raster=1",
                 tile_n[i % 3], tile_m[i / 3 % 2], stages[i / 12], split[i / 6 % 2]);
}

static const char *const schemes[3] = {"w4a8", "mixed", "w8a8"};

static void images_make(struct made *made) {
    const struct bundle_fingerprint gpu = {.cc = 80, .sm_count = 108};
    struct bundle *b = &made->bundle;
    for (int i = 0; i < CONFIGS; i++)
        for (int j = 0; j < 3; j++) {
            struct problem formats;
            struct contents_build build;
            struct str text = {0};
            check(contents_formats(schemes[j], "fp16", 128, &formats));
            check(contents_build(&gpu, "sm80", made->config[i], &formats, &build));
            contents_built(&build, &text);
            int at = 0;
            while (at < b->image_count && strcmp(made->built[at], text.data) != 0)
                at++;
            made->image_of[i][j] = at;
            if (at == b->image_count) {
                snprintf(made->built[at], sizeof *made->built, "%s", text.data);
                bundle_image_name(made->built[at], "kernel", 6, made->hash[at]);
                made->images[b->image_count++] = (struct bundle_image){
                    .hash = made->hash[at], .built = made->built[at], .data = "kernel", .size = 6};
            }
            str_release(&text);
        }
}

static int formats_of(const struct bundle_layer *layer) {
    return layer->rows8 == 0 ? 0 : layer->rows8 < layer->n ? 1 : 2;
}

static void layer_make(struct made *made, int i, bool images) {
    static const char *const names[] = {"qkv", "o", "gate_up", "down"};
    struct bundle *b = &made->bundle;
    const int split = i % SPLITS, which = i / SPLITS % 4, tp = 1 << (i / (4 * SPLITS) % 3), model = i / (12 * SPLITS);
    const int n = (4096 + 512 * which + 64 * model) / tp, k = 4096 + 128 * (model % 40);
    struct bundle_layer *layer = &made->layers[i];
    snprintf(made->names[i], sizeof *made->names, "model-%d", model);
    *layer = (struct bundle_layer){.name = names[which],
                                   .model = made->names[i],
                                   .tp = tp,
                                   .n = n,
                                   .k = k,
                                   .group = 128,
                                   .rows8 = n * split / (SPLITS - 1),
                                   .dtype = "fp16"};
    const int formats = formats_of(layer);
    layer->scheme = schemes[formats];
    for (int j = 0; j < TUNED; j++) {
        const int config = (i * 7 + j * 5) % CONFIGS;
        made->entries[b->entry_count++] =
            (struct bundle_entry){.layer = i,
                                  .m = 1 << j,
                                  .kind = BUNDLE_KERNEL,
                                  .family = "sm80",
                                  .config = made->config[config],
                                  .image_hash = images ? made->hash[made->image_of[config][formats]] : "",
                                  .expected_ns = 5000 + 100 * (1 << j) + i % 10};
        if (j < TIMES)
            made->times[b->time_count++] =
                (struct bundle_time){i, 1 << j, "sm80", made->config[(config + 1) % CONFIGS], 6000, BUNDLE_MEASURED};
    }
}

static void made_init(struct made *made, int rows, bool images) {
    const size_t layers = (size_t)(rows / ROWS > 1 ? rows / ROWS : 1);
    *made =
        (struct made){.bundle.fingerprint = {
                          .gpu = "bench", .cc = 80, .sm_count = 108, .template_hash = "bench", .layout = MT_LAYOUT}};
    struct bundle *b = &made->bundle;
    b->layers = made->layers = xcalloc(layers, sizeof *made->layers);
    b->entries = made->entries = xcalloc(layers * TUNED, sizeof *made->entries);
    b->times = made->times = xcalloc(layers * TIMES, sizeof *made->times);
    b->variants = made->variants = xcalloc((size_t)CONFIGS * 2, sizeof *made->variants);
    b->images = made->images = xcalloc((size_t)CONFIGS * 3, sizeof *made->images);
    made->names = xcalloc(layers, sizeof *made->names);
    made->config = xcalloc(CONFIGS, sizeof *made->config);
    made->built = xcalloc((size_t)CONFIGS * 3, sizeof *made->built);
    made->hash = xcalloc((size_t)CONFIGS * 3, sizeof *made->hash);
    configs_make(made);
    images_make(made);
    for (size_t i = 0; i < layers; i++)
        layer_make(made, (int)i, images);
    b->layer_count = (int)layers;
    for (int i = 0; i < CONFIGS; i++)
        for (int j = 0; j < 2; j++)
            made->variants[b->variant_count++] =
                (struct bundle_build){.family = "sm80",
                                      .config = made->config[i],
                                      .scheme = schemes[1 + j],
                                      .dtype = "fp16",
                                      .group = 128,
                                      .image_hash = images ? made->hash[made->image_of[i][1 + j]] : ""};
    if (!images)
        b->image_count = 0;
}

static void made_release(struct made *made) {
    free(made->layers);
    free(made->entries);
    free(made->times);
    free(made->variants);
    free(made->images);
    free(made->names);
    free(made->config);
    free(made->built);
    free(made->hash);
}

/* ---- what is timed ---- */

/* Each layer by its name and by its shape, and none is made. */
static void ask_all(struct mt_table *table) {
    for (int i = 0; i < table->layer_count; i++)
        table->layers[i].loaded = true;
    for (int i = 0; i < mt_table_layer_count(table); i++) {
        const struct mt_layer_info *info = &mt_table_layer_at(table, i)->info;
        const struct mt_shape shape = {sizeof shape, info->n, info->k, info->rows8, info->group, info->dtype, 0};
        struct mt_query query = MT_QUERY_INIT;
        const struct mt_layer *layer;
        query.name = info->name;
        query.model = info->model;
        query.tp = info->tp;
        query.rows8 = info->rows8;
        check(mt_table_layer_named(table, &query, &layer));
        check(mt_table_layer_shaped(table, &shape, &layer));
    }
}

static void bench(int rows, int rounds, bool images) {
    static char path[] = "/tmp/mixtune-bench-XXXXXX";
    enum { WRITE, READ, BUILD, ASK, STEPS };
    double best[STEPS] = {1e9, 1e9, 1e9, 1e9};
    struct made made;
    made_init(&made, rows, images);
    const int count = made.bundle.entry_count + made.bundle.time_count + made.bundle.variant_count;
    const int file = mkstemp(path);
    if (file >= 0)
        close(file);
    for (int round = 0; round < rounds; round++) {
        struct bundle bundle;
        struct mt_table *table;
        double at[STEPS + 1] = {seconds()};
        check(bundle_write(path, &made.bundle));
        at[1] = seconds();
        check(bundle_read(path, &bundle));
        at[2] = seconds();
        check(table_build(&bundle, &limits, 0, false, &table));
        at[3] = seconds();
        ask_all(table);
        at[4] = seconds();
        table_release(table);
        for (int i = 0; i < STEPS; i++)
            best[i] = at[i + 1] - at[i] < best[i] ? at[i + 1] - at[i] : best[i];
    }
    unlink(path);
    printf("open: %6d rows, %5d layers%s: written in %.3f s, opened in %.3f s (%.2f us a row: %.2f read, %.2f "
           "understood), "
           "%.2f us to find a layer twice\n",
           count, made.bundle.layer_count, images ? "" : ", no images", best[WRITE], best[READ] + best[BUILD],
           1e6 * (best[READ] + best[BUILD]) / count, 1e6 * best[READ] / count, 1e6 * best[BUILD] / count,
           1e6 * best[ASK] / made.bundle.layer_count);
    made_release(&made);
}

int main(int argc, char **argv) {
    static const int usual[] = {1000, 10000, 100000};
    if (argc > 1) {
        bench(atoi(argv[1]), 1, true);
        return 0;
    }
    for (int i = 0; i < 3; i++)
        bench(usual[i], i < 2 ? 5 : 2, true);
    bench(usual[2], 2, false);
    return 0;
}
