/* How fast the software device executes: lane-instructions per second of a real GEMM, W4A8 17 x 4096 x 4096. How fast it
 * loads modules of few and of many kernels, which should take the same time for each. What `mixtune verify` of a larger
 * layer costs, in processor time and memory. */
#include "runtime/base/parallel.h"
#include "runtime/base/str.h"
#include "runtime/family/family.h"
#include "runtime/jit/compile.h"
#include "runtime/softgpu/machine/machine.h"
#include "runtime/softgpu/profile/image.h"
#include "templates/gemm_args.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ARRAYS = 7, RUNS = 5, MOST_OPTIONS = 40 };
static const struct problem problem = {.m = 17, .n = 4096, .k = 4096, .group = 128, .dtype = DTYPE_F16};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void die(const char *why) {
    fprintf(stderr, "bench_soft_machine: %s\n", why);
    exit(1);
}

static struct sg_module *load(const struct config *config) {
    struct str options = {0};
    const char *list[MOST_OPTIONS];
    char *rest = NULL, error[512];
    struct compile_request request = {config->family->template_name, list, 0, "sm_80"};
    struct image image;
    struct dev_image parts;
    config->family->options(config, &problem, &options);
    for (char *word = strtok_r(options.data, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        list[request.option_count++] = word;
    if (compile_kernel(&request, &image) != MT_OK)
        die(fail_message());
    if (dev_image_read(image.data, 80, &parts, error, sizeof error) != CUDA_SUCCESS)
        die(error);
    struct sg_module *module = sg_module_parse(parts.ptx, parts.ptx_length, error, sizeof error);
    if (!module)
        die(error);
    dev_image_release(&parts);
    image_release(&image);
    str_release(&options);
    return module;
}

/* Random bytes; as a scale they are any number, which costs the same. */
static void *array(struct sg_alloc *alloc, size_t bytes) {
    unsigned char *p = aligned_alloc(512, (bytes + 511) / 512 * 512);
    unsigned long long state = 88172645463325252ull + bytes;
    if (!p)
        die("out of memory");
    for (size_t i = 0; i < bytes; i++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17; /* xorshift64, Marsaglia 2003 */
        p[i] = (unsigned char)(state & 0x3b);
    }
    *alloc = (struct sg_alloc){.base = (uint64_t)(uintptr_t)p, .size = bytes};
    return p;
}

static int by_address(const void *a, const void *b) {
    const struct sg_alloc *x = a, *y = b;
    return x->base < y->base ? -1 : x->base > y->base;
}

static void fill_args(struct mt_gemm_args *args, struct sg_alloc *alloc) {
    const size_t m = (size_t)problem.m, n = (size_t)problem.n, k = (size_t)problem.k, groups = k / 128;
    *args = (struct mt_gemm_args){.m = problem.m, .n = problem.n, .k_padded = problem.k, .groups = (int)groups};
    args->ldy = problem.n;
    args->split_k = args->raster = 1;
    args->part[MT_PART_W4] = (struct mt_gemm_part){.weights = array(&alloc[0], n * k / 2),
                                                   .scales = array(&alloc[1], groups * n * 2),
                                                   .zeros = array(&alloc[2], groups * n),
                                                   .rows = problem.n,
                                                   .padded_rows = problem.n};
    args->x = array(&alloc[3], m * k);
    args->x_scales = array(&alloc[4], groups * m * 4);
    args->x_sums = array(&alloc[5], groups * m * 4);
    args->y = array(&alloc[6], m * n * 2);
    qsort(alloc, ARRAYS, sizeof *alloc, by_address);
}

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void run(struct sg_launch *launch, const char *what) {
    struct sg_counters counters = {0};
    struct sg_fault fault;
    double seconds[RUNS];
    for (int i = 0; i < RUNS; i++) {
        double start = now();
        counters = (struct sg_counters){0};
        if (!sg_run(launch, &counters, &fault))
            die(fault.text);
        seconds[i] = now() - start;
    }
    qsort(seconds, RUNS, sizeof *seconds, by_value);
    printf("  %-28s %7.1f ms, %6.0f M lane-instructions/s (%.2f M warp instructions)\n", what, seconds[RUNS / 2] * 1e3,
           (double)counters.lane_instructions / seconds[RUNS / 2] / 1e6, (double)counters.warp_instructions / 1e6);
}

/* A module of `kernels` small ones. */
static void load_many(int kernels) {
    struct str text = {0};
    char error[512];
    double best = 1e9;
    str_append(&text, ".version 8.0\n.target sm_80\n.address_size 64\n");
    for (int k = 0; k < kernels; k++)
        str_printf(
            &text,
            ".visible .entry kernel_%d(.param .u64 p, .param .u32 n)\n"
            "{ .reg .pred %%p<2>; .reg .b32 %%r<5>; .reg .b64 %%d<4>; .shared .b32 s[64];\n"
            "ld.param.u64 %%d1, [p]; ld.param.u32 %%r1, [n]; mov.u32 %%r2, %%tid.x; setp.ge.u32 %%p1, %%r2, %%r1;\n"
            "@%%p1 bra DONE; mul.wide.u32 %%d2, %%r2, 4; add.s64 %%d3, %%d1, %%d2; ld.global.u32 %%r3, [%%d3];\n"
            "add.s32 %%r4, %%r3, %d; st.shared.u32 [s+4], %%r4; st.global.u32 [%%d3], %%r4;\nDONE: ret; }\n",
            k, k);
    for (int i = 0; i < RUNS; i++) {
        const double begin = now();
        struct sg_module *module = sg_module_parse(text.data, text.length, error, sizeof error);
        if (!module)
            die(error);
        sg_module_free(module);
        best = now() - begin < best ? now() - begin : best;
    }
    printf("  loading %4d kernels          %7.1f us each, %6.1f MB/s of PTX\n", kernels, best * 1e6 / kernels,
           (double)text.length / best / 1e6);
    str_release(&text);
}

/* Its worker process included. */
static struct rusage verify(const char *mixtune, const char *device, const char *family, const char *shape) {
    struct rusage used = {0};
    int status = 0;
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        if (freopen("/dev/null", "w", stdout))
            execl(mixtune, mixtune, "verify", "--quiet", "--device", device, "--family", family, "--shape", shape,
                  (char *)NULL);
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, &used) != child || status)
        die("mixtune verify has failed");
    return used;
}

static void run_verify(const char *mixtune, const char *device, const char *family) {
    static const char *const shapes[] = {"512,4096,4096", "1024,8192,4096"};
    verify(mixtune, device, family, "16,256,512"); /* compiles */
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        const struct rusage used = verify(mixtune, device, family, shapes[k]);
        printf("  mixtune verify %s %-14s %6.2f s of processors, at most %5.0f MB\n", family, shapes[k],
               (double)used.ru_utime.tv_sec + (double)used.ru_stime.tv_sec +
                   (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6,
               (double)used.ru_maxrss / 1e3);
    }
}

static void run_verifies(const char *program) { /* …/tests/bench/NAME stands beside …/mixtune */
    struct str mixtune = {0};
    const char *end = strstr(program, "tests/bench/");
    str_printf(&mixtune, "%.*smixtune", end ? (int)(end - program) : 0, program);
    run_verify(mixtune.data, "soft:a100-sxm-80g", "sm80");
    run_verify(mixtune.data, "soft:h100-sxm", "sm90");
    str_release(&mixtune);
}

int main(int argc, char **argv) {
    struct config config;
    struct launch_shape shape;
    struct mt_gemm_args args;
    struct sg_alloc alloc[ARRAYS];
    config_default(family_find("sm80"), &config);
    config.family->shape(&config, &problem, 1, &shape);
    struct sg_module *module = load(&config);
    fill_args(&args, alloc);
    const struct sg_memory memory = {alloc, ARRAYS};
    struct sg_launch launch = {.function = sg_module_function(module, config.family->entry),
                               .params = &args,
                               .grid = {shape.grid[0], shape.grid[1], shape.grid[2]},
                               .block = {shape.block, 1, 1},
                               .cluster = {1, 1, 1},
                               .shared_dynamic = (uint32_t)shape.smem_bytes,
                               .memory = &memory,
                               .host_threads = 1,
                               .resident_ctas = 1,
                               .sm_count = 108,
                               .seed = 1};
    printf("the software device, gemm_sm80 w4a8 17 x 4096 x 4096, median of %d\n", RUNS);
    run(&launch, "one thread");
    launch.checks = SG_CHECKS_ALL;
    run(&launch, "one thread, strict");
    launch.host_threads = parallel_threads();
    run(&launch, "all cores, strict");
    load_many(80);
    load_many(8000);
    for (int i = 0; i < ARRAYS; i++)
        free((void *)(uintptr_t)alloc[i].base); /* NOLINT(performance-no-int-to-ptr): a device address is a host one */
    sg_module_free(module);
    if (argc > 0)
        run_verifies(argv[0]);
    return 0;
}
