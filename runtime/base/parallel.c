#include "parallel.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

struct loop {
    atomic_int next;
    int count, grain;
    void (*body)(void *, int, int);
    void *context;
};

static atomic_int most;

void parallel_limit(int threads) {
    atomic_store(&most, threads);
}

int parallel_threads(void) {
    cpu_set_t allowed;
    int count = sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : 1;
    const int limit = atomic_load(&most);
    if (limit > 0 && count > limit)
        count = limit;
    return count > 0 ? count : 1;
}

static void *loop_run(void *argument) {
    struct loop *loop = argument;
    int piece;
    while ((piece = atomic_fetch_add(&loop->next, 1)) <= (loop->count - 1) / loop->grain) {
        int begin = piece * loop->grain;
        int end = loop->count - begin > loop->grain ? begin + loop->grain : loop->count;
        loop->body(loop->context, begin, end);
    }
    return NULL;
}

void parallel_for(int count, int grain, void (*body)(void *context, int begin, int end), void *context) {
    if (count <= 0)
        return;
    struct loop loop = {.count = count, .grain = grain, .body = body, .context = context};
    int pieces = (count - 1) / grain + 1, threads = parallel_threads();
    int helpers = (pieces < threads ? pieces : threads) - 1, started = 0;
    /* Fewer threads than wanted only make it slower. */
    pthread_t *thread = malloc(sizeof *thread * (size_t)(helpers + 1));
    while (thread && started < helpers && pthread_create(&thread[started], NULL, loop_run, &loop) == 0)
        started++;
    loop_run(&loop);
    for (int i = 0; i < started; i++)
        pthread_join(thread[i], NULL);
    free(thread);
}
