/* Symbols, scopes, labels, and constants whose value is known only when everything is laid out. */
#include "parser.h"
#include "runtime/base/array.h"
#include "runtime/base/str.h"

#include <stdlib.h>
#include <string.h>

void *module_alloc(struct sg_module *m, size_t size) {
    array_grow(&m->blocks, &m->block_capacity, m->block_count, sizeof *m->blocks);
    return m->blocks[m->block_count++] = xcalloc(1, size ? size : 1);
}

char *module_string(struct sg_module *m, const char *text, size_t length) {
    char *copy = module_alloc(m, length + 1);
    memcpy(copy, text, length);
    return copy;
}

static uint32_t hash_name(const char *name, size_t length) {
    uint32_t hash = 2166136261u;
    for (size_t k = 0; k < length; k++)
        hash = (hash ^ (uint8_t)name[k]) * 16777619u;
    return hash;
}

static void bucket_link(struct parser *p, struct symbol *s) {
    int32_t *bucket = &p->bucket[s->hash & (p->buckets - 1)];
    s->next = *bucket;
    *bucket = (int32_t)(s - p->symbol) + 1;
}

/* As many buckets as symbols or more, in which the last one comes first. */
static void buckets_grow(struct parser *p) {
    if (p->symbols < p->buckets)
        return;
    free(p->bucket);
    p->buckets = p->buckets ? 2 * p->buckets : 1024;
    p->bucket = xcalloc(p->buckets, sizeof *p->bucket);
    for (size_t k = 0; k < p->symbols; k++)
        bucket_link(p, &p->symbol[k]);
}

struct symbol *symbol_add(struct parser *p, const struct token *name, enum symbol_kind kind) {
    array_grow(&p->symbol, &p->symbol_capacity, p->symbols, sizeof *p->symbol);
    buckets_grow(p);
    struct symbol *s = &p->symbol[p->symbols];
    *s = (struct symbol){.name = name->text, .length = (uint32_t)name->length, .scope = p->scope, .kind = kind};
    s->hash = hash_name(name->text, name->length);
    s->module_scope = p->f == NULL;
    bucket_link(p, s);
    p->symbols++;
    return s;
}

static struct symbol *find_exact(struct parser *p, const char *name, size_t length, bool range) {
    uint32_t hash = hash_name(name, length);
    for (int32_t k = p->buckets ? p->bucket[hash & (p->buckets - 1)] : 0; k; k = p->symbol[k - 1].next) {
        struct symbol *s = &p->symbol[k - 1];
        if (s->hash == hash && s->length == length && (s->kind == SYM_REGS && s->count) == range &&
            memcmp(s->name, name, length) == 0)
            return s;
    }
    return NULL;
}

/* `%r12` is either its own symbol or the 12th of `%r<n>`. */
struct symbol *symbol_find(struct parser *p, const char *name, size_t length, uint32_t *range_index) {
    *range_index = 0;
    struct symbol *s = find_exact(p, name, length, false);
    size_t prefix = length;
    const size_t digits = 7; /* that REGISTERS_MOST has */
    _Static_assert(REGISTERS_MOST < 10000000, "the number of a register has 7 digits");
    while (prefix > 0 && length - prefix < digits && name[prefix - 1] >= '0' && name[prefix - 1] <= '9')
        prefix--;
    /* `%r1<5>` declares %r10 … %r14: try every split between name and number. */
    for (; !s && prefix < length; prefix++) {
        uint64_t number = 0;
        for (size_t k = prefix; k < length && number < UINT32_MAX; k++)
            number = number * 10 + (uint64_t)(name[k] - '0');
        s = find_exact(p, name, prefix, true);
        if (s && number < s->count)
            *range_index = (uint32_t)number;
        else
            s = NULL;
    }
    return s;
}

bool scope_open(struct parser *p) {
    if (p->scope == SCOPES_MOST)
        return parse_error(p, "more than %d braces in each other", SCOPES_MOST);
    p->scope++;
    array_grow(&p->first_use, &p->first_use_capacity, p->scope, sizeof *p->first_use);
    p->first_use[p->scope] = p->uses;
    return true;
}

bool label_used(struct parser *p, uint32_t insn, uint32_t target, const struct token *name) {
    array_grow(&p->use, &p->use_capacity, p->uses, sizeof *p->use);
    p->use[p->uses++] = (struct label_use){insn, target, name->text, (uint32_t)name->length, name->line, p->scope};
    return true;
}

static bool label_resolve(struct parser *p, struct label_use *use, bool last) {
    struct symbol *s = find_exact(p, use->name, use->length, false);
    bool list = !use->target && p->m->code[use->insn].op == OP_brx;
    if (!s || s->kind != (list ? SYM_TARGETS : SYM_LABEL) || s->scope != p->scope) {
        if (!last)
            return false;
        p->lex.token.line = use->line;
        return parse_error(p, "%s %.*s is not defined", list ? "list of branch targets" : "label", (int)use->length,
                           use->name);
    }
    if (use->target) {
        p->m->targets[use->target - 1] = s->index;
    } else if (s->kind == SYM_TARGETS) {
        p->m->code[use->insn].aux[0] = s->index;
        p->m->code[use->insn].aux[1] = s->count;
    } else {
        p->m->code[use->insn].src[0].imm = s->index;
    }
    return true;
}

bool scope_close(struct parser *p) {
    bool outermost = p->scope == 1;
    size_t kept = p->uses ? p->first_use[p->scope] : 0; /* those before are of the scopes around it */
    for (size_t k = kept; k < p->uses; k++) {
        struct label_use use = p->use[k];
        bool mine = use.scope == p->scope;
        if (mine && label_resolve(p, &use, outermost))
            continue;
        if (mine && outermost)
            return false;
        if (mine)
            use.scope--;
        p->use[kept++] = use;
    }
    p->uses = kept;
    while (p->symbols && p->symbol[p->symbols - 1].scope == p->scope) {
        const struct symbol *s = &p->symbol[--p->symbols];
        p->bucket[s->hash & (p->buckets - 1)] = s->next;
    }
    p->scope--;
    return true;
}

uint32_t vreg_new(struct sg_function *f, unsigned width) {
    array_grow(&f->vreg, &f->vreg_capacity, f->vregs, sizeof *f->vreg);
    f->vreg[f->vregs] = (struct vreg){.width = (uint8_t)width};
    return (uint32_t)f->vregs++;
}

static void fill_constant(struct sg_module *m, uint32_t slot, uint64_t bits, unsigned width) {
    uint8_t *at = m->constants + slot;
    if (width == 0)
        *(uint32_t *)(void *)at = bits ? UINT32_MAX : 0;
    for (int lane = 0; lane < 32 && width; lane++) {
        memset(at + (size_t)lane * width, 0, width);
        memcpy(at + (size_t)lane * width, &bits, width < 8 ? width : 8);
    }
}

static uint32_t new_constant(struct sg_module *m, unsigned width) {
    size_t bytes = width ? (32 * (size_t)width + 63) / 64 * 64 : 64;
    if (m->constant_bytes + bytes > m->constant_capacity) {
        size_t capacity = m->constant_capacity ? 2 * m->constant_capacity : 65536;
        uint8_t *grown = xaligned_alloc(64, capacity); /* an alignment that array_grow() does not have */
        if (m->constant_bytes)
            memcpy(grown, m->constants, m->constant_bytes);
        free(m->constants);
        m->constants = grown;
        m->constant_capacity = capacity;
    }
    m->constant_bytes += bytes;
    return (uint32_t)(m->constant_bytes - bytes);
}

uint32_t module_constant(struct sg_module *m, uint64_t bits, unsigned width) {
    if (width && width < 8)
        bits &= (1ull << (8 * width)) - 1;
    if (!m->constant_index)
        m->constant_index = module_alloc(m, CONSTANT_BUCKETS * sizeof *m->constant_index);
    struct constant_entry *entry = m->constant_index + (bits * 0x9e3779b97f4a7c15ull >> 32 ^ width) % CONSTANT_BUCKETS;
    if (entry->slot1 && entry->bits == bits && entry->width == width)
        return entry->slot1 - 1;
    uint32_t slot = new_constant(m, width);
    fill_constant(m, slot, bits, width);
    *entry = (struct constant_entry){.bits = bits, .width = width, .slot1 = slot + 1};
    return slot;
}

/* The bucket of an equal one, or the empty one for it. */
static uint32_t *fixup_find(const struct sg_module *m, const struct const_fixup *f) {
    uint64_t hash = ((uint64_t)f->kind << 8 | f->width) * 0x9e3779b97f4a7c15ull ^ f->index;
    hash = (hash * 0x9e3779b97f4a7c15ull ^ f->addend) * 0x9e3779b97f4a7c15ull;
    for (size_t at = hash >> 32;; at++) {
        uint32_t *bucket = &m->fixup_bucket[at & (m->fixup_buckets - 1)];
        const struct const_fixup *found = *bucket ? &m->fixup[*bucket - 1] : f;
        if (found->kind == f->kind && found->index == f->index && found->addend == f->addend &&
            found->width == f->width)
            return bucket;
    }
}

static void fixups_rehash(struct sg_module *m) {
    free(m->fixup_bucket);
    m->fixup_buckets = m->fixup_buckets ? 2 * m->fixup_buckets : 64;
    m->fixup_bucket = xcalloc(m->fixup_buckets, sizeof *m->fixup_bucket);
    for (size_t k = 0; k < m->fixups; k++)
        *fixup_find(m, &m->fixup[k]) = (uint32_t)k + 1;
}

uint32_t module_symbol_constant(struct sg_module *m, enum fixup_kind kind, uint32_t index, uint64_t addend,
                                unsigned width) {
    const struct const_fixup wanted = {kind, 0, index, (uint8_t)width, addend};
    if (2 * (m->fixups + 1) > m->fixup_buckets)
        fixups_rehash(m);
    uint32_t *bucket = fixup_find(m, &wanted);
    if (!*bucket) {
        array_grow(&m->fixup, &m->fixup_capacity, m->fixups, sizeof *m->fixup);
        m->fixup[m->fixups] = wanted;
        m->fixup[m->fixups].slot = new_constant(m, width);
        fill_constant(m, m->fixup[m->fixups].slot, 0, width);
        *bucket = (uint32_t)++m->fixups;
    }
    return m->fixup[*bucket - 1].slot;
}

static uint64_t fixup_value(const struct sg_module *m, const struct const_fixup *x) {
    switch (x->kind) {
    case FIX_VARIABLE:
        return m->variable[x->index].address + x->addend;
    case FIX_SHARED: /* a function's own come behind those of the module */
        return (x->index == UINT32_MAX ? 0 : m->shared_bytes) + x->addend;
    case FIX_DYNAMIC_SHARED:
        return function_shared_static(m->function[x->index]) + x->addend;
    case FIX_LOCAL:
        return m->function[x->index]->local_base + x->addend;
    case FIX_FUNCTION:
        return FUNCTION_ADDRESS(x->index);
    }
    return 0;
}

void module_apply_fixups(struct sg_module *m, bool layout) {
    for (size_t k = 0; k < m->fixups; k++)
        if ((m->fixup[k].kind != FIX_VARIABLE) == layout)
            fill_constant(m, m->fixup[k].slot, fixup_value(m, &m->fixup[k]), m->fixup[k].width);
}
