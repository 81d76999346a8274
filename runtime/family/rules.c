#include "rules.h"
#include "templates/gemm_args.h"
#include <stdarg.h>

enum { STATIC_SHARED = 512 /* mbarriers and the flags of split-K, at most */, MAX_REGISTERS = 255, MOST_SPLIT = 65535 };

bool refuse(char reason[160], const char *format, ...) {
    va_list args;
    va_start(args, format);
    text_vfit(reason, 160, format, args);
    va_end(args);
    return false;
}

int k_step(int knob, const struct problem *p) {
    return knob ? knob : p->group > MT_K_PAD ? p->group : MT_K_PAD;
}

struct parts parts_of(const struct problem *p, int width, int width8) {
    struct parts parts = {
        .has8 = p->rows8 > 0, .has4 = p->rows8 < p->n, .zeros = problem_has_zeros(p), .width8 = width, .width4 = width};
    if (parts.has8 && parts.has4 && width8)
        parts.width8 = width8;
    return parts;
}

void parts_options(const struct parts *parts, const struct problem *p, struct str *out) {
    str_printf(out, " -DGROUP=%d -DHAS_W8=%d -DHAS_W4=%d -DSYMMETRIC=%d -DBF16=%d", p->group, parts->has8, parts->has4,
               parts->has4 && !parts->zeros, p->dtype == DTYPE_BF16);
}

static int ceil_div(int a, int b) {
    return (a + b - 1) / b;
}

int tiles_along_n(const struct problem *p, int tile8, int tile4) {
    return ceil_div(p->rows8, tile8) + ceil_div(p->n - p->rows8, tile4);
}

struct stream stream_of(int tiles, int workers, int steps, int least) {
    struct stream s = {.tiles = mt_streamed_tiles(tiles, workers)};
    s.workers = mt_stream_workers(s.tiles, steps, least, workers);
    return s;
}

static bool power_of_two(int v) {
    return v > 0 && (v & (v - 1)) == 0;
}

bool warps_allowed(int warps_n, int warps_m, char reason[160]) {
    if (!power_of_two(warps_n) || !power_of_two(warps_m) || warps_n * warps_m < 2 || warps_n * warps_m > 16)
        return refuse(reason, "warps_n and warps_m must be powers of two, 2 to 16 warps together; they are %d and %d",
                      warps_n, warps_m);
    return true;
}

bool split_allowed(int split_k, int steps, char reason[160]) {
    if (split_k < 1 || split_k > steps)
        return refuse(reason, "split_k must be 1 to %d, the number of K steps; it is %d", steps, split_k);
    if (split_k > MOST_SPLIT)
        return refuse(reason, "split_k must be at most %d, the depth of a grid; it is %d", MOST_SPLIT, split_k);
    return true;
}

bool raster_allowed(int raster, int tiles_m, char reason[160]) {
    if (raster < 1 || raster > tiles_m)
        return refuse(reason, "raster must be 1 to %d, the number of token tiles; it is %d", tiles_m, raster);
    return true;
}

bool resources_allowed(const struct device_limits *d, int threads, int ctas, int shared, int registers,
                       char reason[160]) {
    if (ctas < 1 || ctas > 32 || threads * ctas > d->threads_per_sm)
        return refuse(reason, "%d CTAs of %d threads do not fit an SM, which holds %d threads", ctas, threads,
                      d->threads_per_sm);
    if (shared + STATIC_SHARED > d->smem_per_block_optin)
        return refuse(reason, "needs %d bytes of shared memory; a CTA can have %d", shared + STATIC_SHARED,
                      d->smem_per_block_optin);
    if (ctas * (shared + STATIC_SHARED + MT_SYSTEM_SHARED) > d->smem_per_sm)
        return refuse(reason, "%d CTAs with %d bytes of shared memory each do not fit an SM, which has %d", ctas,
                      shared, d->smem_per_sm);
    const int budget = d->regs_per_sm / (threads * ctas) / 8 * 8;
    const int limit = budget < MAX_REGISTERS ? budget : MAX_REGISTERS;
    if (registers > limit)
        return refuse(reason, "needs about %d registers per thread; %d CTAs of %d threads leave %d", registers, ctas,
                      threads, limit);
    return true;
}
