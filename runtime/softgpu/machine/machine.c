/* A launch from beginning to end. */
#include "machine.h"
#include "parts.h"
#include "runtime/base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sg_module *sg_module_parse(const char *ptx, size_t length, char *error, size_t error_size) {
    return ptx_parse(ptx, length, machine_bind, error, error_size);
}

static bool refuse(struct sg_fault *fault, const struct sg_launch *l, const char *what, uint64_t number) {
    fault->kind = SG_FAULT_LAUNCH;
    text_fit_words(fault->text, sizeof fault->text, "%s: %s: %llu", l->function->name, what,
                   (unsigned long long)number);
    return false;
}

_Static_assert(MACHINE_MOST == 1ull << 32 && MAX_WARPS * LANES == 1024 && MAX_CLUSTER == 16 && RANK_SHIFT == 24,
               "the sentences below say so");

static bool prepare_clusters(struct run *run, const struct sg_launch *l, struct sg_fault *fault) {
    const uint32_t *required = l->function->cluster;
    const uint64_t ctas = sg_volume(l->cluster);
    for (int k = 0; k < 3; k++) {
        run->cluster[k] = l->cluster[k];
        if (l->cluster[k] == 0 || l->grid[k] % l->cluster[k])
            return refuse(fault, l, "the grid does not consist of whole clusters; CTAs in a row of one", l->cluster[k]);
        if (required[0] && l->cluster[k] != (required[k] ? required[k] : 1))
            return refuse(fault, l, "not the clusters that the kernel was compiled for (.reqnctapercluster)",
                          l->cluster[k]);
    }
    if (ctas > MAX_CLUSTER)
        return refuse(fault, l, "16 CTAs in a cluster are the most, this one has", ctas);
    run->cluster_ctas = (uint32_t)ctas;
    if (l->sample && (uint32_t)l->sample_count % (l->cluster[0] * l->cluster[1]))
        return refuse(fault, l, "a sample that is not of whole clusters, of columns", (uint64_t)l->sample_count);
    return true;
}

/* Cooperative groups keep the barriers of tiles of several warps in the 1024 bytes that the system reserves. */
static uint32_t reserved_bytes(const struct sg_module *m) {
    for (size_t k = 0; k < m->insns; k++) {
        const struct operand *o = &m->code[k].src[0];
        if (o->kind == O_SPECIAL && o->imm >= SR_RESERVED_SMEM_OFFSET_BEGIN && o->imm <= SR_RESERVED_SMEM_OFFSET_1)
            return 1024;
    }
    return 0;
}

static bool prepare(struct run *run, const struct sg_launch *l, struct sg_fault *fault) {
    run->launch = l;
    run->function = l->function;
    run->module = l->function->module;
    const uint64_t threads = sg_volume(l->block);
    if (threads == 0 || threads > MAX_WARPS * LANES)
        return refuse(fault, l, "a block must have 1 to 1024 threads, this one has", threads);
    if (l->function->max_threads && threads > l->function->max_threads)
        return refuse(fault, l, "more threads in a block than the kernel was compiled for (.maxntid)", threads);
    const uint64_t ctas = l->sample ? (uint64_t)l->sample_count * l->grid[2] : sg_volume(l->grid);
    if (ctas == 0 || ctas >= UINT32_MAX / 2)
        return refuse(fault, l, "impossible number of CTAs", ctas);
    if (!prepare_clusters(run, l, fault))
        return false;
    run->threads = (uint32_t)threads;
    run->clusters = (uint32_t)ctas / run->cluster_ctas;
    run->shared_static = function_shared_static(l->function);
    run->shared_reserved = reserved_bytes(run->module);
    const uint64_t own = (uint64_t)run->shared_static + l->shared_dynamic, aligned = (own + 15) / 16 * 16;
    const uint64_t shared = run->shared_reserved ? aligned + run->shared_reserved : own;
    run->shared_bytes = (uint32_t)shared;
    if (shared > 1u << RANK_SHIFT)
        return refuse(fault, l, "16777216 bytes of shared memory are the most, these CTAs have", shared);
    return cluster_bytes(run) <= MACHINE_MOST ||
           refuse(fault, l, "registers, local and shared memory of a cluster take more than 2^32 bytes here",
                  cluster_bytes(run));
}

static void run_threads(struct run *run) {
    const struct sg_launch *l = run->launch;
    enum { MOST = 255 };
    pthread_t thread[MOST];
    int extra = l->sample ? 0 : l->host_threads - 1, started = 0;
    const uint64_t room = MACHINE_MOST / cluster_bytes(run);
    extra = (uint64_t)extra >= room ? (int)room - 1 : extra;
    extra = extra > MOST ? MOST : extra >= (int)run->clusters ? (int)run->clusters - 1 : extra;
    while (started < extra && pthread_create(&thread[started], NULL, run_worker, run) == 0)
        started++;
    run_worker(run);
    while (started > 0)
        pthread_join(thread[--started], NULL);
}

bool sg_run(const struct sg_launch *launch, struct sg_counters *counters, struct sg_fault *fault) {
    struct run run = {0};
    *fault = (struct sg_fault){0};
    if (!prepare(&run, launch, fault))
        return false;
    pthread_mutex_init(&run.lock, NULL);
    struct sg_launch estimate;
    if (launch->sample) {
        estimate = *launch;
        estimate.checks &= ~SG_CHECKS_WATCHED;
        run.launch = &estimate;
        run.overlay = overlay_new();
    }
    run_threads(&run);
    overlay_free(run.overlay);
    pthread_mutex_destroy(&run.lock);
    *fault = run.fault;
    if (counters)
        *counters = run.total;
    return run.fault.kind == SG_FAULT_NONE;
}
