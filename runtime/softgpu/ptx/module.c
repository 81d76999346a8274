/* Modules as others see them (ptx.h). */
#include "module.h"
#include "runtime/base/str.h"

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
    free(m->entry);
    free(m->entry_by_name);
    free(m->variable_by_name);
    free(m->fixup_bucket);
    free(m->targets);
    free(m->code);
    free(m->text);
    free(m);
}

static const char *name_of_entry(const struct sg_module *m, uint32_t index) {
    return m->function[m->entry[index]]->name;
}

static const char *name_of_variable(const struct sg_module *m, uint32_t index) {
    return m->variable[index].name;
}

typedef const char *name_fn(const struct sg_module *m, uint32_t index);

struct named {
    const char *name;
    uint32_t index;
};

/* Equal names in the order of their numbers, so that the first is found. */
static int compare_named(const void *a, const void *b) {
    const struct named *x = a, *y = b;
    const int order = strcmp(x->name, y->name);
    return order ? order : x->index < y->index ? -1 : x->index > y->index;
}

static uint32_t *sorted_by_name(const struct sg_module *m, size_t count, name_fn *name) {
    struct named *list = xcalloc(count + 1, sizeof *list);
    uint32_t *order = xcalloc(count + 1, sizeof *order);
    for (size_t k = 0; k < count; k++)
        list[k] = (struct named){name(m, (uint32_t)k), (uint32_t)k};
    qsort(list, count, sizeof *list, compare_named);
    for (size_t k = 0; k < count; k++)
        order[k] = list[k].index;
    free(list);
    return order;
}

void module_index(struct sg_module *m) {
    m->entry = xcalloc(m->functions + 1, sizeof *m->entry);
    for (size_t k = 0; k < m->functions; k++)
        if (m->function[k]->entry && m->function[k]->defined)
            m->entry[m->entries++] = (uint32_t)k;
    m->entry_by_name = sorted_by_name(m, m->entries, name_of_entry);
    m->variable_by_name = sorted_by_name(m, m->variables, name_of_variable);
}

static int find_by_name(const struct sg_module *m, const uint32_t *order, size_t count, name_fn *name,
                        const char *wanted) {
    size_t low = 0, high = count;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (strcmp(name(m, order[middle]), wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && strcmp(name(m, order[low]), wanted) == 0 ? (int)order[low] : -1;
}

int sg_module_function_index(const struct sg_module *m, const char *name) {
    return find_by_name(m, m->entry_by_name, m->entries, name_of_entry, name);
}

int sg_module_variable_index(const struct sg_module *m, const char *name) {
    return find_by_name(m, m->variable_by_name, m->variables, name_of_variable, name);
}

int sg_module_function_count(const struct sg_module *module) {
    return (int)module->entries;
}

const struct sg_function *sg_module_function_at(const struct sg_module *module, int index) {
    return module->function[module->entry[index]];
}

const char *sg_module_function_name(const struct sg_module *module, int index) {
    return name_of_entry(module, (uint32_t)index);
}

const struct sg_function *sg_module_function(const struct sg_module *module, const char *name) {
    const int index = sg_module_function_index(module, name);
    return index < 0 ? NULL : sg_module_function_at(module, index);
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

/* Writes addresses into initialisers: into the image and, where the variable has its place already, there too. */
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
}

void sg_module_link(struct sg_module *module) {
    bind_pointers(module);
    module_apply_fixups(module, false);
}

uint32_t function_shared_static(const struct sg_function *f) {
    const struct sg_module *m = f->module;
    uint32_t own = m->common_dynamic ? m->shared_most : f->shared_bytes, align = m->dynamic_align;
    return (m->shared_bytes + own + align - 1) / align * align;
}

uint32_t function_frame_total(const struct sg_function *f) {
    return f->frame_base + f->frame_bytes;
}

uint32_t function_local_total(const struct sg_function *f) {
    return f->local_base + f->local_bytes;
}

void sg_function_describe(const struct sg_function *f, struct sg_function_info *out) {
    const bool opaque = f->opaque_pointers || (f->calls && f->module->func_opaque);
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
