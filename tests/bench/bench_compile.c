/* How long one configuration takes to compile, cold and from the cache, and how many compile per second on all
 * cores. */
#include "runtime/base/parallel.h"
#include "runtime/base/str.h"
#include "runtime/family/family.h"
#include "runtime/jit/compile.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { COLD = 5, CACHED = 200, MANY = 12, MOST_OPTIONS = 64 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *seconds, int count) {
    qsort(seconds, (size_t)count, sizeof *seconds, ascending);
    return seconds[count / 2];
}

static void die(void) {
    fprintf(stderr, "bench_compile: %s\n", fail_message());
    exit(1);
}

struct many {
    const struct compile_request *request;
    double *seconds; /* in the compiler, of each */
};

static void compile_some(void *context, int begin, int end) {
    const struct many *many = context;
    for (int i = begin; i < end; i++) {
        struct image image;
        if (compile_kernel(&many->request[i], &image) != MT_OK)
            die();
        many->seconds[i] = image.seconds;
        image_release(&image);
    }
}

/* The default configuration of gemm_sm80.cu, with one more option that makes each request its own. */
struct job {
    struct str text;
    const char *option[MOST_OPTIONS];
    struct compile_request request;
};

static void job_init(struct job *job, int number) {
    const struct problem p = {.m = 16, .n = 4096, .k = 4096, .group = 128, .dtype = DTYPE_F16};
    const struct family *family = family_find("sm80");
    struct config config;
    char *rest = NULL;
    memset(job, 0, sizeof *job);
    config_default(family, &config);
    family->options(&config, &p, &job->text);
    str_printf(&job->text, " -DBENCH=%d", number);
    job->request = (struct compile_request){family->template_name, job->option, 0, "sm_80"};
    for (char *word = strtok_r(job->text.data, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        job->option[job->request.option_count++] = word;
}

static double time_one(const struct compile_request *request, bool from_cache) {
    struct image image;
    double start = now();
    if (compile_kernel(request, &image) != MT_OK)
        die();
    double seconds = now() - start;
    if (image.from_cache != from_cache) {
        fprintf(stderr, "bench_compile: the image came %sfrom the cache\n", image.from_cache ? "" : "not ");
        exit(1);
    }
    image_release(&image);
    return seconds;
}

int main(void) {
    char folder[] = "/tmp/mixtune-bench-XXXXXX";
    double cold[COLD], cached[CACHED], in_compiler = 0;
    struct job job[MANY];
    struct compile_request request[MANY];
    struct str command = {0};
    if (!mkdtemp(folder) || setenv("MIXTUNE_CACHE_DIR", folder, 1) != 0) {
        perror("bench_compile: a temporary folder");
        return 1;
    }
    job_init(&job[0], 0);
    double first = time_one(&job[0].request, false); /* opens the compiler, too */
    for (int i = 0; i < CACHED; i++)
        cached[i] = time_one(&job[0].request, true);
    str_release(&job[0].text);
    for (int i = 0; i < COLD; i++) {
        job_init(&job[0], 1 + i);
        cold[i] = time_one(&job[0].request, false);
        str_release(&job[0].text);
    }
    for (int i = 0; i < MANY; i++) {
        job_init(&job[i], 100 + i);
        request[i] = job[i].request;
    }
    double start = now();
    double seconds[MANY];
    parallel_for(MANY, 1, compile_some, &(struct many){request, seconds});
    double all = now() - start;
    for (int i = 0; i < MANY; i++) {
        in_compiler += seconds[i];
        str_release(&job[i].text);
    }

    printf("compile one configuration of gemm_sm80.cu, w4a8, sm_80\n");
    printf("  first in a process   %8.1f ms\n", first * 1e3);
    printf("  cold                 %8.1f ms\n", median(cold, COLD) * 1e3);
    printf("  cached               %8.3f ms\n", median(cached, CACHED) * 1e3);
    printf("  %d on all cores      %8.1f ms, %.1f per second, %.2f in the compiler at a time\n", MANY, all * 1e3,
           MANY / all, in_compiler / all);
    str_printf(&command, "rm -rf %s", folder);
    int result = system(command.data);
    str_release(&command);
    return result != 0;
}
