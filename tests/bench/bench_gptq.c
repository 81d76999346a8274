/* Prints what GPTQ takes in seconds of one core, all threads together: bench_gptq [N K THREADS]. Without arguments N and K
 * are those of o in Llama 3.1 8B, on one thread. */
#include "runtime/base/parallel.h"
#include "runtime/base/str.h"
#include "templates/gemm_args.h"
#include "tuner/quantize/blas.h"
#include "tuner/quantize/gptq.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void check(enum mt_status status) {
    if (status == MT_OK)
        return;
    fprintf(stderr, "bench_gptq: %s\n", fail_message());
    exit(status);
}

/* Of all threads of this process, so that other programs on the cores take less part in it. */
static double core_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static float number(void) {
    return (float)(drand48() + drand48() + drand48() - 1.5);
}

static float *random_weights(size_t count) {
    float *w = xmalloc(count * sizeof *w);
    for (size_t i = 0; i < count; i++)
        w[i] = number() * 0.05f;
    return w;
}

/* Inputs that are correlated with their neighbours, each less by half: positive definite without sums over tokens. */
static float *make_hessian(int k) {
    float *h = xcalloc((size_t)k * (size_t)k, sizeof *h);
    enum { NEAR = 24 };
    for (int i = 0; i < k; i++)
        for (int j = i - NEAR < 0 ? 0 : i - NEAR; j < k && j <= i + NEAR; j++)
            h[(size_t)i * (size_t)k + (size_t)j] = 1.0f / (float)(1u << abs(i - j));
    return h;
}

static void print(const char *what, double seconds, double operations) {
    printf("%-44s %8.2f s  %6.1f GFLOPS a core\n", what, seconds, operations / seconds / 1e9);
}

static void bench_round(struct rank *rank, const struct hessian *h, int width, const char *what) {
    const struct problem p = {.m = 1, .n = rank->cut->n, .k = h->k, .group = h->group};
    const struct gptq_plan plan = {.feedback = true};
    struct quant_rows rows;
    check(quant_rows_init(&rows, &p, width == MT_PART_W8, width == MT_PART_W4));
    const double begin = core_seconds();
    check(gptq_round(rank, h, &plan, &rows));
    print(what, core_seconds() - begin, gptq_row_operations(p.n, p.k));
    quant_rows_release(&rows);
}

int main(int argc, char **argv) {
    const int n = argc == 4 ? atoi(argv[1]) : 4096, k = argc == 4 ? atoi(argv[2]) : 4096;
    if ((argc != 1 && argc != 4) || n < 1 || k < 1) {
        fprintf(stderr, "usage: bench_gptq [N K THREADS]\n");
        return MT_USAGE;
    }
    parallel_limit(argc == 4 ? atoi(argv[3]) : 1);
    check(blas_open());
    float *w = random_weights((size_t)n * (size_t)k), *numbers = make_hessian(k);
    /* Of no bytes: there is no map whose pages could be dropped. */
    const struct tensor weight = {
        .name = "w", .type = TENSOR_F32, .rank = 2, .shape = {n, k}, .data = (const uint8_t *)w};
    const struct tensor matrix = {
        .name = "h", .type = TENSOR_F32, .rank = 2, .shape = {k, k}, .data = (const uint8_t *)numbers};
    const struct tensor *weights[] = {&weight};
    const struct source source = {.weight = weights};
    const struct fused layer = {.name = "w", .n = n, .k = k, .part_count = 1};
    const struct cut cut = {.n = n, .k = k, .piece = {{.rows = n}}, .count = 1};
    const struct hessian_plan plan = {.group = 128, .damping = 0.01};
    struct hessian h;
    struct rank rank;
    rank_init(&source, &layer, &cut, &rank);
    printf("GPTQ of weights [%d][%d], groups of 128, threads: %d:\n", n, k, parallel_threads());
    const double begin = core_seconds();
    check(hessian_factor(&matrix, "h", &cut, &plan, &h));
    print("the factor of the Hessian", core_seconds() - begin, gptq_factor_operations(k));
    bench_round(&rank, &h, MT_PART_W4, "rows with 4 bits");
    bench_round(&rank, &h, MT_PART_W8, "rows with 8 bits");
    hessian_release(&h);
    free(w);
    free(numbers);
    return 0;
}
