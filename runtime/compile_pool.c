#include "compile_pool.h"
#include "base/str.h"
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

struct pool {
    const struct compile_request *requests;
    int count, next;
    bool stopped;
    compile_done done;
    void *user;
    pthread_mutex_t lock;
};

static void *work(void *argument) {
    struct pool *pool = argument;
    pthread_mutex_lock(&pool->lock);
    while (!pool->stopped && pool->next < pool->count) {
        int index = pool->next++;
        struct image image;
        pthread_mutex_unlock(&pool->lock);
        enum mt_status status = compile_kernel(&pool->requests[index], &image);
        pthread_mutex_lock(&pool->lock);
        if (!pool->done(pool->user, index, status, &image))
            pool->stopped = true;
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

enum mt_status compile_many(const struct compile_request *requests, int count, int threads, compile_done done,
                            void *user) {
    struct pool pool = {.requests = requests, .count = count, .done = done, .user = user};
    pthread_mutex_init(&pool.lock, NULL);
    if (threads < 1)
        threads = (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (threads > count)
        threads = count;
    /* This thread works, too: one that cannot be made is no failure. */
    pthread_t *helpers = xcalloc((size_t)threads + 1, sizeof *helpers);
    int made = 0;
    while (made < threads - 1 && pthread_create(&helpers[made], NULL, work, &pool) == 0)
        made++;
    work(&pool);
    for (int i = 0; i < made; i++)
        pthread_join(helpers[i], NULL);
    free(helpers);
    pthread_mutex_destroy(&pool.lock);
    return pool.stopped ? fail(MT_INTERRUPTED, "compiling was stopped after %d of %d kernels", pool.next, count)
                        : MT_OK;
}
