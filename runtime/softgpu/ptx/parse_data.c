/* Variables of the module and of functions, with their initialisers. */
#include "names.h"
#include "parser.h"
#include "runtime/base/array.h"

#include <string.h>

struct declaration {
    struct token name;
    enum ptx_type type;
    uint64_t align, elements; /* 0 elements: [] */
    bool array;
};

/* `.align N`, `.attribute(…)`, type, then name and dimensions; the current token is behind the state space. */
static bool read_type(struct parser *p, struct declaration *d) {
    d->align = 0;
    while (p->lex.token.kind == TOK_DOT) {
        struct token word = p->lex.token;
        lexer_next(&p->lex);
        if (token_is(&word, ".align")) {
            if (!parse_align(p, &d->align))
                return false;
        } else if (token_is(&word, ".attribute")) {
            while (p->lex.token.kind != TOK_END && !parse_accept(p, ")"))
                lexer_next(&p->lex);
        } else {
            d->type = type_find(word.text + 1, word.length - 1);
            if (d->type == T_NONE || type_size(d->type) == 0)
                return parse_error(p, "unknown type or attribute %.*s of a variable", (int)word.length, word.text);
        }
    }
    return d->type != T_NONE || parse_error(p, "a variable without a type");
}

static bool read_name(struct parser *p, struct declaration *d) {
    d->name = p->lex.token;
    if (d->name.kind != TOK_NAME)
        return parse_error(p, "the name of a variable is missing");
    lexer_next(&p->lex);
    return parse_elements(p, &d->elements, &d->array);
}

struct init_value {
    uint64_t bits, mask; /* mask: of 0xFF00(symbol), else 0 */
    bool pointer, function;
    uint32_t target;
};

static bool read_symbol_value(struct parser *p, struct init_value *v) {
    bool wrapped = parse_accept(p, "generic");
    if (wrapped && !parse_expect(p, "("))
        return false;
    struct token name = p->lex.token;
    uint32_t unused;
    const struct symbol *s = name.kind == TOK_NAME ? symbol_find(p, name.text, name.length, &unused) : NULL;
    if (!s || (s->kind != SYM_VARIABLE && s->kind != SYM_FUNCTION))
        return parse_error(p, "initialiser %.*s is nothing declared before", (int)name.length, name.text);
    v->pointer = true;
    v->function = s->kind == SYM_FUNCTION;
    v->target = s->index;
    if (!v->function)
        p->m->variable[s->index].named = true;
    lexer_next(&p->lex);
    if (wrapped && !parse_expect(p, ")"))
        return false;
    int64_t addend = 0;
    if (parse_accept(p, "+") && !parse_integer(p, &addend))
        return false;
    v->bits += (uint64_t)addend;
    return true;
}

static bool read_value(struct parser *p, enum ptx_type type, struct init_value *v) {
    *v = (struct init_value){0};
    bool minus = parse_accept(p, "-");
    struct token t = p->lex.token;
    if (t.kind == TOK_NAME)
        return read_symbol_value(p, v);
    if (t.kind == TOK_HUGE)
        return parse_huge(p, &t);
    if (t.kind != TOK_INT && t.kind != TOK_FLOAT)
        return parse_error(p, "unknown initialiser %.*s", (int)t.length, t.text);
    lexer_next(&p->lex);
    if (t.kind == TOK_INT && parse_accept(p, "(")) {
        v->mask = t.bits;
        return read_symbol_value(p, v) && parse_expect(p, ")");
    }
    v->bits = minus && t.kind == TOK_INT ? -t.bits : t.bits;
    if (t.kind == TOK_FLOAT)
        v->bits = float_literal(&t, type, minus);
    return true;
}

static void put_value(struct parser *p, struct variable *var, uint32_t index, uint64_t offset, unsigned bytes,
                      const struct init_value *v) {
    struct sg_module *m = p->m;
    if (!v->pointer) {
        memcpy(var->init + offset, &v->bits, bytes < 8 ? bytes : 8);
        return;
    }
    array_grow(&m->pointer, &m->pointer_capacity, m->pointers, sizeof *m->pointer);
    m->pointer[m->pointers++] = (struct pointer_init){.variable = index,
                                                      .target = v->target,
                                                      .function = v->function,
                                                      .offset = offset,
                                                      .addend = v->bits,
                                                      .bytes = bytes < 8 ? bytes : 8,
                                                      .shift = v->mask ? (uint32_t)__builtin_ctzll(v->mask) : 0};
}

/* `= value` or `= {…}`, braces nested at will: values fill the elements in order. */
static bool read_initialiser(struct parser *p, const struct declaration *d, struct variable *var, uint32_t index) {
    uint64_t at = 0;
    unsigned bytes = type_size(d->type), depth = 0;
    if (var->size > TEXT_MOST - p->m->init_bytes)
        return parse_error(p, "%s has %llu bytes behind %llu others: with initialisers %d are possible", var->name,
                           (unsigned long long)var->size, (unsigned long long)p->m->init_bytes, TEXT_MOST);
    p->m->init_bytes += var->size;
    var->init = module_alloc(p->m, var->size);
    do {
        while (parse_accept(p, "{"))
            depth++;
        if (!token_is(&p->lex.token, "}")) {
            struct init_value v;
            if (!read_value(p, d->type, &v))
                return false;
            if (at + bytes > var->size)
                return parse_error(p, "too many initialisers for %s", var->name);
            put_value(p, var, index, at, bytes, &v);
            at += bytes;
        }
        while (depth > 0 && parse_accept(p, "}"))
            depth--;
    } while (depth > 0 && parse_accept(p, ","));
    return depth == 0 || parse_error(p, "a brace of the initialiser of %s is not closed", var->name);
}

static uint64_t bytes_of(const struct declaration *d) {
    return d->elements * type_size(d->type);
}

static uint64_t align_of(const struct declaration *d) {
    return d->align > type_size(d->type) ? d->align : type_size(d->type);
}

static bool place(struct parser *p, const struct declaration *d, uint32_t *total, struct symbol *s) {
    s->size = bytes_of(d);
    return parse_place(p, &d->name, s->size, align_of(d), total, &s->offset);
}

static bool add_global(struct parser *p, const struct declaration *d, bool constant, bool external) {
    struct sg_module *m = p->m;
    if (external)
        return parse_error(p, "external variable %.*s: linking modules is not supported", (int)d->name.length,
                           d->name.text);
    array_grow(&m->variable, &m->variable_capacity, m->variables, sizeof *m->variable);
    uint32_t index = (uint32_t)m->variables++;
    struct variable *var = &m->variable[index];
    var->name = module_string(m, d->name.text, d->name.length);
    var->size = bytes_of(d);
    var->align = align_of(d);
    var->constant = constant;
    symbol_add(p, &d->name, SYM_VARIABLE)->index = index;
    return !parse_accept(p, "=") || read_initialiser(p, d, &m->variable[index], index);
}

static bool add_one(struct parser *p, const struct declaration *d, const struct token *space, bool external) {
    if (token_is(space, ".global") || token_is(space, ".const"))
        return add_global(p, d, token_is(space, ".const"), external);
    struct symbol *s;
    if (token_is(space, ".shared")) {
        bool dynamic = external || (d->array && d->elements == 0);
        s = symbol_add(p, &d->name, dynamic ? SYM_DYNAMIC_SHARED : SYM_SHARED);
        bool in_entry = p->f && p->f->entry;
        s->module_scope = !in_entry;
        if (!dynamic)
            return place(p, d, in_entry ? &p->f->shared_bytes : &p->m->shared_bytes, s);
        if (d->align > p->m->dynamic_align)
            p->m->dynamic_align = (uint32_t)d->align;
    } else if (p->f) { /* .local, and .param of a call */
        return place(p, d, &p->f->local_bytes, symbol_add(p, &d->name, SYM_LOCAL));
    } else {
        return parse_error(p, "%.*s variable outside a function", (int)space->length, space->text);
    }
    return true;
}

bool parse_variable(struct parser *p, bool external) {
    struct token space = p->lex.token;
    struct declaration d = {0};
    lexer_next(&p->lex);
    if (!read_type(p, &d))
        return false;
    do {
        if (!read_name(p, &d) || !add_one(p, &d, &space, external))
            return false;
    } while (parse_accept(p, ","));
    return parse_expect(p, ";");
}
