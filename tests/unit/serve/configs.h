/* What tests of tables share. Configurations are as `mixtune export` writes them: all knobs. */
#ifndef TEST_CONFIGS_H
#define TEST_CONFIGS_H

#include "runtime/serve/contents.h"
#include "runtime/serve/table.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SM80(tile_n, tile_n8, tile_m, stages, warps_n, warps_m, zero, split_k, raster)                                 \
    "tile_n=" #tile_n ",tile_n8=" #tile_n8 ",tile_m=" #tile_m ",tile_k=0,stages=" #stages ",warps_n=" #warps_n         \
    ",warps_m=" #warps_m ",ctas=1,promote=2,zero=" #zero ",order=1,split_k=" #split_k ",raster=" #raster
#define SM90(tile_m, stages, share_k, cluster_k, stream_k)                                                             \
    "blocks=1,blocks8=0,tile_m=" #tile_m ",tile_k=0,stages=" #stages ",consumers=2,pingpong=0,share_k=" #share_k       \
    ",cluster=1,cluster_k=" #cluster_k ",store=0,ctas=1,promote=2,zero=0,yield=0,split_k=1,stream_k=" #stream_k        \
    ",raster=1"

static const struct device_limits a100 = {.cc = 80,
                                          .sm_count = 108,
                                          .smem_per_block_optin = 166912,
                                          .smem_per_sm = 167936,
                                          .regs_per_sm = 65536,
                                          .threads_per_sm = 2048};

/* A lookup that succeeds. */
static inline struct mt_choice lookup(const struct mt_table *table, const struct mt_layer *layer, int m) {
    struct mt_choice choice = {.size = sizeof choice};
    if (mt_table_lookup(table, layer, m, &choice) == MT_OK)
        return choice;
    fprintf(stderr, "M %d: %s\n", m, fail_message());
    abort();
}

static inline void image_built(struct bundle_image *images, int count, const char *hash,
                               const struct contents_build *build) {
    static char texts[64][400];
    static int used;
    struct str text = {0};
    int i = 0;
    while (i < count && strcmp(images[i].hash, hash) != 0)
        i++;
    if (i == count || images[i].built)
        return;
    contents_built(build, &text);
    snprintf(texts[used % 64], sizeof *texts, "%s", str_text(&text));
    images[i].built = texts[used++ % 64];
    str_release(&text);
}

/* Says of each image what the first row that has it is built of. What is no kernel is left out. */
static inline void images_built(const struct bundle *b, struct bundle_image *images) {
    struct contents_build build;
    struct problem p;
    for (int i = 0; i < b->image_count; i++)
        images[i].built = NULL;
    for (int i = 0; i < b->entry_count; i++)
        if (b->entries[i].kind != BUNDLE_FP16 && contents_layer(&b->layers[b->entries[i].layer], &p) == MT_OK &&
            contents_entry(&b->fingerprint, &b->entries[i], &p, &build) == MT_OK)
            image_built(images, b->image_count, b->entries[i].image_hash, &build);
    for (int i = 0; i < b->variant_count; i++)
        if (contents_variant(&b->fingerprint, &b->variants[i], &build) == MT_OK)
            image_built(images, b->image_count, b->variants[i].image_hash, &build);
    for (int i = 0; i < b->fallback_count; i++)
        if (contents_fallback(&b->fingerprint, &b->fallbacks[i], &build) == MT_OK)
            image_built(images, b->image_count, b->fallbacks[i].image_hash, &build);
    for (int i = 0; i < b->image_count; i++)
        images[i].built = images[i].built ? images[i].built : "";
}

#endif
