/* The functions of machine.h: modules as others see them, and a launch from beginning to end. */
#include "machine.h"
#include "runtime/base/str.h"
#include "runtime/softgpu/warp/cta.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void sg_module_free(struct sg_module *m) {
    if (!m)
        return;
    for (size_t k = 0; k < m->functions; k++) {
        free(m->function[k]->param_offset);
        free(m->function[k]->param_size);
        free(m->function[k]->vreg);
    }
    for (size_t k = 0; k < m->block_count; k++)
        free(m->blocks[k]);
    free(m->blocks);
    free(m->function);
    free(m->variable);
    free(m->pointer);
    free(m->fixup);
    free(m->constants);
    free(m->targets);
    free(m->code);
    free(m->text);
    free(m);
}

static struct sg_function *nth_entry(const struct sg_module *m, int index) {
    for (size_t k = 0; k < m->functions; k++)
        if (m->function[k]->entry && m->function[k]->defined && index-- == 0)
            return m->function[k];
    return NULL;
}

int sg_module_function_count(const struct sg_module *module) {
    int count = 0;
    while (nth_entry(module, count))
        count++;
    return count;
}

const char *sg_module_function_name(const struct sg_module *module, int index) {
    const struct sg_function *f = nth_entry(module, index);
    return f ? f->name : NULL;
}

const struct sg_function *sg_module_function(const struct sg_module *module, const char *name) {
    const struct sg_function *f;
    int k = 0;
    while ((f = nth_entry(module, k++)))
        if (strcmp(f->name, name) == 0)
            break;
    return f;
}

int sg_module_variable_count(const struct sg_module *module) {
    return (int)module->variables;
}

const char *sg_module_variable(const struct sg_module *module, int index, size_t *size, size_t *align,
                               const void **init) {
    const struct variable *v = &module->variable[index];
    *size = v->size;
    *align = v->align;
    *init = v->init;
    return v->name;
}

bool sg_module_variable_named(const struct sg_module *module, int index) {
    return module->variable[index].named;
}

/* Writes addresses into initialisers: into the image and, where the variable has its place already, there too, so
 * the order in which variables are bound and filled does not matter. */
static void bind_pointers(struct sg_module *m) {
    for (size_t k = 0; k < m->pointers; k++) {
        const struct pointer_init *p = &m->pointer[k];
        const struct variable *holder = &m->variable[p->variable];
        uint64_t target = p->function ? FUNCTION_ADDRESS(p->target) : m->variable[p->target].address;
        if (!target)
            continue;
        uint64_t bits = (target + p->addend) >> p->shift;
        memcpy(holder->init + p->offset, &bits, p->bytes);
        if (holder->address)
            memcpy((uint8_t *)(uintptr_t)holder->address + p->offset, &bits, p->bytes);
    }
}

void sg_module_variable_bind(struct sg_module *module, int index, uint64_t address) {
    module->variable[index].address = address;
    bind_pointers(module);
    module_apply_fixups(module, false);
}

uint32_t function_shared_static(const struct sg_function *f) {
    const struct sg_module *m = f->module;
    uint32_t own = f->shared_bytes, align = m->dynamic_align;
    for (size_t k = 0; m->common_dynamic && k < m->functions; k++)
        own = m->function[k]->shared_bytes > own ? m->function[k]->shared_bytes : own;
    return (m->shared_bytes + own + align - 1) / align * align;
}

uint32_t function_frame_total(const struct sg_function *f) {
    return f->frame_base + f->frame_bytes;
}

uint32_t function_local_total(const struct sg_function *f) {
    return f->local_base + f->local_bytes;
}

void sg_function_describe(const struct sg_function *f, struct sg_function_info *out) {
    bool opaque = f->opaque_pointers;
    for (size_t k = 0; f->calls && k < f->module->functions; k++)
        opaque |= f->module->function[k]->opaque_pointers && !f->module->function[k]->entry;
    *out = (struct sg_function_info){.param_count = (int)f->params,
                                     .param_offset = f->param_offset,
                                     .param_size = f->param_size,
                                     .param_bytes = f->param_bytes,
                                     .shared_static = function_shared_static(f),
                                     .local_bytes = function_local_total(f),
                                     .max_threads = f->max_threads,
                                     .min_ctas_per_sm = f->min_ctas,
                                     .opaque_pointers = opaque};
    memcpy(out->cluster, f->cluster, sizeof out->cluster);
}

static bool refuse(struct sg_fault *fault, const struct sg_launch *l, const char *what, uint64_t number) {
    fault->kind = SG_FAULT_LAUNCH;
    snprintf(fault->text, sizeof fault->text, "%s: %s: %llu", l->function->name, what, (unsigned long long)number);
    return false;
}

static bool prepare_clusters(struct run *run, const struct sg_launch *l, struct sg_fault *fault) {
    const uint32_t *required = l->function->cluster;
    run->cluster_ctas = 1;
    for (int k = 0; k < 3; k++) {
        run->cluster[k] = l->cluster[k];
        if (l->cluster[k] == 0 || l->grid[k] % l->cluster[k])
            return refuse(fault, l, "the grid does not consist of whole clusters; CTAs in a row of one", l->cluster[k]);
        if (required[0] && l->cluster[k] != (required[k] ? required[k] : 1))
            return refuse(fault, l, "not the clusters that the kernel was compiled for (.reqnctapercluster)",
                          l->cluster[k]);
        run->cluster_ctas *= l->cluster[k];
    }
    if (run->cluster_ctas > MAX_CLUSTER)
        return refuse(fault, l, "16 CTAs in a cluster are the most, this one has", run->cluster_ctas);
    if (l->sample && (uint32_t)l->sample_count % (l->cluster[0] * l->cluster[1]))
        return refuse(fault, l, "a sample that is not of whole clusters, of columns", (uint64_t)l->sample_count);
    return true;
}

static bool prepare(struct run *run, const struct sg_launch *l, struct sg_fault *fault) {
    run->launch = l;
    run->function = l->function;
    run->module = l->function->module;
    uint64_t threads = 1, ctas = 1;
    for (int k = 0; k < 3; k++) {
        threads *= l->block[k];
        ctas *= l->grid[k];
    }
    if (threads == 0 || threads > MAX_WARPS * LANES)
        return refuse(fault, l, "a block must have 1 to 1024 threads, this one has", threads);
    if (l->function->max_threads && threads > l->function->max_threads)
        return refuse(fault, l, "more threads in a block than the kernel was compiled for (.maxntid)", threads);
    if (l->sample)
        ctas = (uint64_t)l->sample_count * l->grid[2];
    if (ctas == 0 || ctas >= UINT32_MAX / 2)
        return refuse(fault, l, "impossible number of CTAs", ctas);
    if (!prepare_clusters(run, l, fault))
        return false;
    run->threads = (uint32_t)threads;
    run->clusters = (uint32_t)ctas / run->cluster_ctas;
    run->shared_static = function_shared_static(l->function);
    run->shared_bytes = run->shared_static + l->shared_dynamic;
    return true;
}

static void run_threads(struct run *run) {
    const struct sg_launch *l = run->launch;
    pthread_t thread[256];
    int extra = l->sample ? 0 : l->host_threads - 1, started = 0;
    extra = extra > 255 ? 255 : extra >= (int)run->clusters ? (int)run->clusters - 1 : extra;
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
        estimate.strict = false;
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
