/* Prints how long one dispatch lookup takes: a layer that was tuned at 13 batch sizes, M drawn at random. */
#include "runtime/base/str.h"
#include "runtime/serve/table.h"
#include "tests/unit/serve/configs.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { TUNED = 13, DRAWN = 4096, ROUNDS = 2000 };

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int main(void) {
    static const struct device_limits limits = {80, 108, 166912, 167936, 65536, 2048};
    static const struct bundle_layer layer = {"qkv", "", 1, 6144, 4096, 128, 0, "w4a8", "fp16"};
    struct bundle_image image = {.hash = "a", .data = "a", .size = 1};
    struct bundle_entry entries[TUNED];
    for (int i = 0; i < TUNED; i++)
        entries[i] = (struct bundle_entry){.m = 1 << i,
                                           .kind = BUNDLE_KERNEL,
                                           .family = "sm80",
                                           .config = SM80(64, 0, 16, 3, 2, 1, 0, 1, 1),
                                           .image_hash = "a",
                                           .expected_ns = 5000 + 100 * (1 << i)};
    struct bundle bundle = {
        .fingerprint = {.gpu = "", .cc = 80, .sm_count = 108, .template_hash = "", .layout = MT_LAYOUT},
        .layers = &layer,
        .layer_count = 1,
        .entries = entries,
        .entry_count = TUNED,
        .images = &image,
        .image_count = 1};
    struct mt_table *table;
    images_built(&bundle, &image);
    if (table_build(&bundle, &limits, 0, false, &table) != MT_OK) {
        fprintf(stderr, "bench_lookup: %s\n", fail_message());
        return 1;
    }
    static int m[DRAWN];
    for (int i = 0; i < DRAWN; i++)
        m[i] = 1 + (int)(lrand48() % (1 << (1 + lrand48() % TUNED)));
    const struct mt_layer *found = mt_table_layer_at(table, 0);
    double sum = 0, best = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        double begin = seconds();
        for (int i = 0; i < DRAWN; i++) {
            struct mt_choice choice = {.size = sizeof choice};
            mt_table_lookup(table, found, m[i], &choice);
            sum += choice.expected_ns;
        }
        double each = (seconds() - begin) / DRAWN;
        best = each < best ? each : best;
    }
    printf("dispatch lookup: %.1f ns (%d tuned batch sizes, random M)\n", best * 1e9, TUNED);
    table_release(table);
    return sum > 0 ? 0 : 1;
}
