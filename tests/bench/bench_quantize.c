/* Prints how fast weights are quantised and packed on one core, in bytes of fp32 whatever they come from:
 * bench_quantize [N K GROUP]. Best of several rounds. */
#include "runtime/base/parallel.h"
#include "runtime/base/str.h"
#include "runtime/layer/half.h"
#include "runtime/layer/rows.h"
#include "templates/gemm_args.h"
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 5 };

struct bench {
    struct problem p;
    float *w;
    uint16_t *half, *bf16; /* the same weights */
    uint8_t *is8;
};

/* Of this thread, so that other programs on the core take less part in it. */
static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* One thread, on the core where it is. */
static void pin(void) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(sched_getcpu(), &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0 || parallel_threads() != 1)
        fprintf(stderr, "bench_quantize: cannot be pinned to one core; the numbers are of %d\n", parallel_threads());
}

static void check(enum mt_status status) {
    if (status == MT_OK)
        return;
    fprintf(stderr, "bench_quantize: %s\n", fail_message());
    exit(status);
}

static void bench_init(struct bench *b, int n, int k, int group) {
    const size_t count = (size_t)n * (size_t)k;
    b->p = (struct problem){.m = 1, .n = n, .k = k, .group = group};
    check(problem_check(&b->p));
    b->w = xmalloc(count * sizeof *b->w);
    b->half = xmalloc(count * sizeof *b->half);
    b->bf16 = xmalloc(count * sizeof *b->bf16);
    b->is8 = xcalloc((size_t)n, 1);
    for (size_t i = 0; i < count; i++) {
        b->w[i] = (float)(drand48() + drand48() + drand48() - 1.5) * 0.05f;
        b->half[i] = half_from_float(b->w[i]);
        b->bf16[i] = bf16_from_float(b->w[i]);
    }
}

static void bench_release(struct bench *b) {
    free(b->w);
    free(b->half);
    free(b->bf16);
    free(b->is8);
}

static void print(const struct bench *b, const char *what, double best) {
    printf("%-44s %6.2f GB/s\n", what, 4e-9 * (double)b->p.n * (double)b->p.k / best);
}

/* All rows from fp32, or through a row of fp32 from the 16 bits of `from`. */
static void rows_take(const struct bench *b, struct quant_rows *rows, const uint16_t *from,
                      void (*convert)(const uint16_t *, float *, size_t), float *row) {
    const size_t k = (size_t)b->p.k;
    for (int i = 0; i < b->p.n; i++) {
        const size_t at = (size_t)i * k;
        if (from)
            convert(from + at, row, k);
        if (quant_rows_take(rows, i, from ? row : b->w + at) >= 0)
            abort();
    }
}

static void bench_rows(const struct bench *b, const char *what, bool w8, bool w4, bool symmetric, bool clip,
                       enum dtype *dtype) {
    struct problem p = b->p;
    struct quant_rows rows;
    float *row = xmalloc((size_t)p.k * sizeof *row);
    double best = 1e9;
    p.symmetric = symmetric;
    check(quant_rows_init(&rows, &p, w8, w4));
    rows.clip = clip;
    for (int round = 0; round < (clip ? 2 : ROUNDS); round++) {
        const bool half = dtype && *dtype == DTYPE_F16;
        const double begin = seconds();
        rows_take(b, &rows, !dtype ? NULL : half ? b->half : b->bf16, half ? floats_from_half : floats_from_bf16, row);
        const double took = seconds() - begin;
        best = took < best ? took : best;
    }
    print(b, what, best);
    free(row);
    quant_rows_release(&rows);
}

static void bench_pack(const struct bench *b, const char *what, int eighths) {
    struct quant_rows rows;
    struct quant_layer layer;
    double best = 1e9;
    check(quant_rows_init(&rows, &b->p, true, true));
    rows_take(b, &rows, NULL, NULL, NULL);
    for (int i = 0; i < b->p.n; i++)
        b->is8[i] = i % 8 < eighths;
    for (int round = 0; round < ROUNDS; round++) {
        const double begin = seconds();
        check(quant_rows_pack(&rows, b->is8, &layer));
        const double took = seconds() - begin;
        best = took < best ? took : best;
        quant_layer_release(&layer);
    }
    print(b, what, best);
    quant_rows_release(&rows);
}

/* A layer from weights to packed bytes, memory from the system included. */
static void bench_layer(const struct bench *b, const char *what, bool wide, bool symmetric) {
    struct problem p = b->p;
    struct quant_layer layer;
    double best = 1e9;
    p.rows8 = wide ? p.n : 0;
    p.symmetric = symmetric;
    for (int round = 0; round < ROUNDS; round++) {
        const double begin = seconds();
        check(quant_layer_init(&layer, &p, b->w, NULL));
        const double took = seconds() - begin;
        best = took < best ? took : best;
        quant_layer_release(&layer);
    }
    print(b, what, best);
}

/* Both widths, and one choice of them packed. */
static void bench_choice(const struct bench *b, const char *what) {
    struct quant_rows rows;
    struct quant_layer layer;
    double best = 1e9;
    for (int i = 0; i < b->p.n; i++)
        b->is8[i] = i % 8 == 0;
    for (int round = 0; round < ROUNDS; round++) {
        const double begin = seconds();
        check(quant_rows_init(&rows, &b->p, true, true));
        rows_take(b, &rows, NULL, NULL, NULL);
        check(quant_rows_pack(&rows, b->is8, &layer));
        const double took = seconds() - begin;
        best = took < best ? took : best;
        quant_layer_release(&layer);
        quant_rows_release(&rows);
    }
    print(b, what, best);
}

int main(int argc, char **argv) {
    struct bench b;
    if (argc != 1 && argc != 4) {
        fprintf(stderr, "usage: bench_quantize [N K GROUP]\n");
        return MT_USAGE;
    }
    pin();
    bench_init(&b, argc == 4 ? atoi(argv[1]) : 4096, argc == 4 ? atoi(argv[2]) : 4096, argc == 4 ? atoi(argv[3]) : 128);
    printf("weights [%d][%d], groups of %d, one core, bytes of fp32:\n", b.p.n, b.p.k, b.p.group);
    bench_layer(&b, "quantise and pack, 4 bits", false, false);
    bench_layer(&b, "quantise and pack, 4 bits symmetric", false, true);
    bench_layer(&b, "quantise and pack, 8 bits", true, false);
    bench_choice(&b, "quantise both, pack an eighth of 8 bits");
    bench_rows(&b, "quantise, 4 bits", false, true, false, false, NULL);
    bench_rows(&b, "quantise, 4 bits symmetric", false, true, true, false, NULL);
    bench_rows(&b, "quantise, 8 bits", true, false, false, false, NULL);
    bench_rows(&b, "quantise, both", true, true, false, false, NULL);
    bench_rows(&b, "quantise, both, from fp16", true, true, false, false, &(enum dtype){DTYPE_F16});
    bench_rows(&b, "quantise, both, from bf16", true, true, false, false, &(enum dtype){DTYPE_BF16});
    bench_rows(&b, "quantise, 4 bits, clip", false, true, false, true, NULL);
    bench_rows(&b, "quantise, 8 bits, clip", true, false, false, true, NULL);
    bench_rows(&b, "quantise, both, clip", true, true, false, true, NULL);
    bench_pack(&b, "pack, 4 bits", 0);
    bench_pack(&b, "pack, 8 bits", 8);
    bench_pack(&b, "pack, an eighth of 8 bits", 1);
    bench_release(&b);
    return 0;
}
