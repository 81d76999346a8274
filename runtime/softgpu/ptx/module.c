/* Modules as others see them (ptx.h). */
#include "module.h"

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
    free(m->lack);
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

const char *sg_module_lacks(const struct sg_module *module, size_t index) {
    return index < module->lack_count ? module->lack[index].sentence : NULL;
}
