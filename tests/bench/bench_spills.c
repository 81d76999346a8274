/* Which configurations of a space spill registers: of those that the constraint functions allow every STRIDE-th is
 * compiled, and each that needs local memory is named. There should be none.
 *
 *     bench_spills [DEVICE SPACE STRIDE]          default: soft:h100-sxm sm90 997, then soft:a100-sxm-80g sm80 997 */
#include "runtime/base/parallel.h"
#include "runtime/gpu/launch.h"
#include "tuner/plan/space.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const schemes[] = {"w4a8", "w8a8", "p20", "w4a8-sym", "p20-sym"};
enum { SCHEMES = sizeof schemes / sizeof *schemes };

struct item {
    struct config config;
    struct problem problem;
    int registers, spilled;
    bool built;
};
struct sample {
    const struct device *dev;
    struct item *item;
    int count;
};

static void die(void) {
    fprintf(stderr, "bench_spills: %s\n", fail_message());
    exit(1);
}

static void compile_some(void *context, int begin, int end) {
    const struct sample *s = context;
    for (int i = begin; i < end; i++) {
        struct item *item = &s->item[i];
        struct image image;
        if (kernel_compile(s->dev, &item->config, &item->problem, &image) != MT_OK) {
            fprintf(stderr, "bench_spills: %s\n", fail_message());
            continue;
        }
        item->registers = image.registers;
        item->spilled = image.spill_bytes;
        item->built = true;
        image_release(&image);
    }
}

/* Schemes and groups take turns, so that each meets all knobs. */
static void draw(const struct space *space, const struct device_limits *limits, long stride, struct sample *s) {
    static const int groups[] = {128, 64, 128, 256};
    const long size = space_size(space);
    long turn = 0;
    char reason[160];
    s->item = calloc((size_t)(size / stride + 1), sizeof *s->item);
    for (long i = 0; i < size; i += stride, turn++) {
        struct item item = {.problem = {.m = 4096, .n = 4096, .k = 4096, .group = groups[turn / SCHEMES % 4]}};
        if (problem_set_scheme(&item.problem, schemes[turn % SCHEMES]))
            die();
        space_config(space, i, &item.config);
        if (config_allowed(&item.config, &item.problem, limits, reason))
            s->item[s->count++] = item;
    }
}

static void run(const char *device, const char *name, long stride) {
    struct device dev;
    struct device_limits limits;
    struct space space;
    struct sample s = {.dev = &dev};
    int spilling = 0;
    if (device_open(&dev, device) || space_read(name, &space))
        die();
    device_limits_of(&dev, &limits);
    draw(&space, &limits, stride, &s);
    parallel_for(s.count, 1, compile_some, &s);
    for (int i = 0; i < s.count; i++) {
        const struct item *item = &s.item[i];
        struct str text = {0};
        config_format(&item->config, &text);
        if (item->spilled)
            printf("  %d registers, %d bytes spilled: %s g%d %s\n", item->registers, item->spilled,
                   problem_scheme(&item->problem), item->problem.group, text.data);
        spilling += item->spilled > 0;
        str_release(&text);
    }
    printf("%s on %s: %d of %d sampled configurations spill\n", name, dev.name, spilling, s.count);
    free(s.item);
    space_release(&space);
    device_close(&dev);
}

int main(int argc, char **argv) {
    if (argc == 4) {
        run(argv[1], argv[2], atol(argv[3]));
        return 0;
    }
    run("soft:h100-sxm", "sm90", 997);
    run("soft:a100-sxm-80g", "sm80", 997);
    return 0;
}
