/* A PTX module: directives, functions, and their bodies statement by statement. */
#include "names.h"
#include "operands.h"
#include "parser.h"
#include "runtime/base/array.h"
#include "runtime/base/str.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool parse_error(struct parser *p, const char *format, ...) {
    if (p->error[0])
        return false;
    va_list args;
    va_start(args, format);
    int used = snprintf(p->error, p->error_size, "PTX line %u: ", p->lex.token.line);
    if (used >= 0 && (size_t)used < p->error_size)
        text_vfit_words(p->error + used, p->error_size - (size_t)used, format, args);
    va_end(args);
    return false;
}

bool parse_lack(struct parser *p, const char *format, ...) {
    va_list args;
    va_start(args, format);
    text_vfit_words(p->lack, sizeof p->lack, format, args);
    va_end(args);
    return false;
}

bool parse_accept(struct parser *p, const char *text) {
    if (!token_is(&p->lex.token, text))
        return false;
    lexer_next(&p->lex);
    return true;
}

bool parse_expect(struct parser *p, const char *text) {
    const struct token *t = &p->lex.token;
    return parse_accept(p, text) || parse_error(p, "expected '%s' before '%.*s'", text, (int)t->length, t->text);
}

bool parse_integer(struct parser *p, int64_t *value) {
    *value = 0;
    bool minus = parse_accept(p, "-");
    if (p->lex.token.kind == TOK_HUGE)
        return parse_huge(p, &p->lex.token);
    if (p->lex.token.kind != TOK_INT)
        return parse_error(p, "expected a number before '%.*s'", (int)p->lex.token.length, p->lex.token.text);
    *value = (int64_t)(minus ? -p->lex.token.bits : p->lex.token.bits);
    lexer_next(&p->lex);
    return true;
}

bool parse_huge(struct parser *p, const struct token *t) {
    return parse_error(p, "the number %.*s has more than 64 bits", (int)t->length, t->text);
}

/* A number from 1 on. */
static bool parse_count(struct parser *p, uint32_t *count) {
    int64_t number;
    if (!parse_integer(p, &number))
        return false;
    *count = (uint32_t)number;
    return (number >= 1 && number <= INT32_MAX) ||
           parse_error(p, "%lld is not possible here: 1 to %d are", (long long)number, INT32_MAX);
}

bool parse_align(struct parser *p, uint64_t *align) {
    int64_t number;
    if (!parse_integer(p, &number))
        return false;
    *align = (uint64_t)number;
    return (number >= 1 && number <= ALIGN_MOST && (number & (number - 1)) == 0) ||
           parse_error(p, ".align %lld: powers of two up to %d are possible", (long long)number, ALIGN_MOST);
}

bool parse_elements(struct parser *p, uint64_t *elements, bool *array) {
    const uint64_t most = 1ull << 40;
    *elements = 1;
    *array = false;
    while (parse_accept(p, "[")) {
        int64_t count = 0;
        *array = true;
        if (!token_is(&p->lex.token, "]") && !parse_integer(p, &count))
            return false;
        if (count < 0 || (*elements && (uint64_t)count > most / *elements))
            return parse_error(p, "a variable of [%lld] elements: 0 to 2^40 are possible in all", (long long)count);
        *elements *= (uint64_t)count;
        if (!parse_expect(p, "]"))
            return false;
    }
    return true;
}

bool parse_place(struct parser *p, const struct token *name, uint64_t bytes, uint64_t align, uint32_t *total,
                 uint64_t *offset) {
    *offset = (*total + align - 1) / align * align;
    if (bytes > SPACE_MOST || *offset + bytes > SPACE_MOST)
        return parse_error(p, "%.*s takes %llu bytes behind %u others: a state space has at most %d", (int)name->length,
                           name->text, (unsigned long long)bytes, *total, SPACE_MOST);
    *total = (uint32_t)(*offset + bytes);
    return true;
}

void parse_skip_line(struct parser *p) {
    uint32_t line = p->lex.token.line;
    while (p->lex.token.kind != TOK_END && p->lex.token.line == line)
        lexer_next(&p->lex);
}

bool parse_skip_statement(struct parser *p) {
    while (p->lex.token.kind != TOK_END && !token_is(&p->lex.token, ";"))
        lexer_next(&p->lex);
    return parse_expect(p, ";");
}

/* `.section name { … }` */
static void skip_section(struct parser *p) {
    while (p->lex.token.kind != TOK_END && !token_is(&p->lex.token, "{"))
        lexer_next(&p->lex);
    while (p->lex.token.kind != TOK_END && !token_is(&p->lex.token, "}"))
        lexer_next(&p->lex);
    lexer_next(&p->lex);
}

/* ---- functions ---- */

static bool add_parameter(struct parser *p, const struct token *name, uint64_t bytes, uint64_t align) {
    struct sg_function *f = p->f;
    uint64_t offset;
    if (!parse_place(p, name, bytes, align, f->entry ? &f->param_bytes : &f->local_bytes, &offset))
        return false;
    size_t capacity = f->param_capacity;
    array_grow(&f->param_offset, &capacity, f->params, sizeof *f->param_offset);
    array_grow(&f->param_size, &f->param_capacity, f->params, sizeof *f->param_size);
    f->param_offset[f->params] = (uint32_t)offset;
    f->param_size[f->params++] = (uint32_t)bytes;
    struct symbol *s = symbol_add(p, name, f->entry ? SYM_PARAM : SYM_LOCAL);
    s->offset = offset;
    s->size = bytes;
    return true;
}

/* `.param .align 8 .b8 name[24]`, `.param .u64 .ptr .global .align 16 name` */
static bool parse_parameter(struct parser *p) {
    uint64_t align = 0, elements;
    enum ptx_type type = T_NONE;
    if (!parse_accept(p, ".param"))
        return parse_error(p, "function parameters in registers are not supported");
    bool pointer = false;
    while (p->lex.token.kind == TOK_DOT) {
        struct token word = p->lex.token;
        lexer_next(&p->lex);
        uint64_t number;
        if (token_is(&word, ".align")) {
            if (!parse_align(p, &number))
                return false;
            align = pointer ? align : number; /* after .ptr it is that of the memory pointed to */
        } else if (token_is(&word, ".ptr")) {
            pointer = true;
        } else if (!pointer && (type = type_find(word.text + 1, word.length - 1)) == T_NONE) {
            return parse_error(p, "unknown type %.*s of a parameter", (int)word.length, word.text);
        }
    }
    struct token name = p->lex.token;
    if (name.kind != TOK_NAME || type_size(type) == 0)
        return parse_error(p, "a parameter without type or name");
    lexer_next(&p->lex);
    bool array;
    if (!parse_elements(p, &elements, &array))
        return false;
    return add_parameter(p, &name, elements * type_size(type), align > type_size(type) ? align : type_size(type));
}

static bool parse_parameters(struct parser *p) {
    if (!parse_expect(p, "("))
        return false;
    while (!token_is(&p->lex.token, ")")) {
        if (!parse_parameter(p))
            return false;
        if (!parse_accept(p, ","))
            break;
    }
    return parse_expect(p, ")");
}

static bool parse_dimensions(struct parser *p, uint32_t out[3]) {
    out[0] = out[1] = out[2] = 1;
    for (int k = 0; k < 3; k++) {
        if (!parse_count(p, &out[k]))
            return false;
        if (!parse_accept(p, ","))
            break;
    }
    return true;
}

/* Between the parameters and the body. */
static bool parse_attributes(struct parser *p) {
    struct sg_function *f = p->f;
    while (p->lex.token.kind == TOK_DOT) {
        struct token word = p->lex.token;
        lexer_next(&p->lex);
        uint32_t dims[3];
        int64_t number;
        if (token_is(&word, ".maxntid") || token_is(&word, ".reqntid")) {
            if (!parse_dimensions(p, dims))
                return false;
            const uint64_t plane = (uint64_t)dims[0] * dims[1];
            if (plane > UINT32_MAX / dims[2])
                return parse_error(p, "%.*s of more than 2^32 threads", (int)word.length, word.text);
            f->max_threads = (uint32_t)plane * dims[2];
        } else if (token_is(&word, ".reqnctapercluster")) {
            if (!parse_dimensions(p, f->cluster))
                return false;
        } else if (token_is(&word, ".minnctapersm")) {
            if (!parse_count(p, &f->min_ctas))
                return false;
        } else if (token_is(&word, ".maxnreg") || token_is(&word, ".maxclusterrank") ||
                   token_is(&word, ".maxnctapersm")) {
            if (!parse_integer(p, &number))
                return false;
        } else if (token_is(&word, ".pragma")) {
            if (!parse_skip_statement(p))
                return false;
        } else if (!token_is(&word, ".noreturn") && !token_is(&word, ".explicitcluster") &&
                   !token_is(&word, ".blocksareclusters")) {
            return parse_error(p, "unknown function directive %.*s", (int)word.length, word.text);
        }
    }
    return true;
}

static struct sg_function *function_declare(struct parser *p, const struct token *name, bool entry) {
    struct sg_module *m = p->m;
    uint32_t unused;
    struct symbol *s = symbol_find(p, name->text, name->length, &unused);
    if (s && s->kind == SYM_FUNCTION) {
        struct sg_function *f = m->function[s->index];
        if (!f->defined && f->entry == entry)
            return f;
        parse_error(p, "%.*s is declared %s", (int)name->length, name->text,
                    f->defined ? "behind its definition" : "as .entry and as .func");
        return NULL;
    }
    array_grow(&m->function, &m->function_capacity, m->functions, sizeof *m->function);
    struct sg_function *f = module_alloc(m, sizeof *f);
    f->module = m;
    f->name = module_string(m, name->text, name->length);
    f->entry = entry;
    f->index = (uint32_t)m->functions;
    m->function[m->functions++] = f;
    s = symbol_add(p, name, SYM_FUNCTION);
    s->index = f->index;
    return f;
}

/* `.reg .b32 %r<10>, %q;` */
static bool parse_registers(struct parser *p) {
    lexer_next(&p->lex);
    struct token word = p->lex.token;
    enum ptx_type type = word.kind == TOK_DOT ? type_find(word.text + 1, word.length - 1) : T_NONE;
    if (type == T_NONE)
        return parse_error(p, "unknown register type %.*s", (int)word.length, word.text);
    unsigned width = type == T_PRED ? 0 : type_size(type) < 2 ? 2 : type_size(type);
    lexer_next(&p->lex);
    do {
        struct token name = p->lex.token;
        int64_t count = 0;
        if (name.kind != TOK_NAME)
            return parse_error(p, "the name of a register is missing");
        lexer_next(&p->lex);
        if (parse_accept(p, "<") && (!parse_integer(p, &count) || !parse_expect(p, ">")))
            return false;
        if (count < 0 || count > REGISTERS_MOST - (int64_t)p->f->vregs)
            return parse_error(p, "%lld registers more than the %zu before are too many: a function has at most %d",
                               (long long)count, p->f->vregs, REGISTERS_MOST);
        struct symbol *s = symbol_add(p, &name, SYM_REGS);
        s->index = (uint32_t)p->f->vregs;
        s->count = (uint32_t)count;
        for (int64_t k = 0; k < (count ? count : 1); k++)
            vreg_new(p->f, width);
    } while (parse_accept(p, ","));
    return parse_expect(p, ";");
}

/* `label: .branchtargets a, b, …;` */
static bool parse_targets(struct parser *p, const struct token *name) {
    struct symbol *s = symbol_add(p, name, SYM_TARGETS);
    struct sg_module *m = p->m;
    s->index = (uint32_t)m->target_count;
    lexer_next(&p->lex);
    uint32_t count = 0;
    do {
        array_grow(&m->targets, &m->target_capacity, m->target_count, sizeof *m->targets);
        m->target_count++;
        label_used(p, 0, (uint32_t)m->target_count, &p->lex.token);
        count++;
        lexer_next(&p->lex);
    } while (parse_accept(p, ","));
    s->count = count;
    return parse_expect(p, ";");
}

static bool parse_label(struct parser *p, const struct token *name) {
    if (token_is(&p->lex.token, ".branchtargets"))
        return parse_targets(p, name);
    if (token_is(&p->lex.token, ".callprototype") || token_is(&p->lex.token, ".calltargets")) {
        symbol_add(p, name, SYM_PROTOTYPE);
        return parse_skip_statement(p);
    }
    symbol_add(p, name, SYM_LABEL)->index = (uint32_t)p->m->insns;
    return true;
}

static bool parse_body_directive(struct parser *p) {
    const struct token *t = &p->lex.token;
    if (token_is(t, ".reg"))
        return parse_registers(p);
    if (token_is(t, ".loc") || token_is(t, ".file"))
        parse_skip_line(p);
    else if (token_is(t, ".pragma"))
        return parse_skip_statement(p);
    else if (token_is(t, ".section"))
        skip_section(p);
    else if (token_is(t, ".local") || token_is(t, ".shared") || token_is(t, ".param") || token_is(t, ".global") ||
             token_is(t, ".const"))
        return parse_variable(p, false);
    else
        return parse_error(p, "unknown directive %.*s", (int)t->length, t->text);
    return true;
}

/* A name at the start of a statement is a label if ':' follows. */
static bool at_label(const struct parser *p) {
    struct lexer ahead = p->lex;
    lexer_next(&ahead);
    return token_is(&ahead.token, ":");
}

static bool parse_body(struct parser *p) {
    uint32_t base = p->scope;
    if (!scope_open(p) || !parse_expect(p, "{"))
        return false;
    while (p->scope > base) {
        struct token t = p->lex.token;
        if (parse_accept(p, "{")) {
            if (!scope_open(p))
                return false;
        } else if (parse_accept(p, "}")) {
            if (p->scope == base + 1)
                insn_emit(p, p->f->entry ? OP_exit : OP_ret, t.line)->text = "} (end of function)";
            if (!scope_close(p))
                return false;
        } else if (t.kind == TOK_DOT) {
            if (!parse_body_directive(p))
                return false;
        } else if (t.kind == TOK_NAME && at_label(p)) {
            lexer_next(&p->lex);
            lexer_next(&p->lex);
            if (!parse_label(p, &t))
                return false;
        } else if (!parse_accept(p, ";") && !parse_statement(p)) {
            return false;
        }
    }
    return true;
}

static void add_lack(struct parser *p, struct insn *i, const char *why) {
    struct sg_module *m = p->m;
    struct str sentence = {0};
    str_printf(&sentence, "PTX line %u: %s in '%s'", i->line, why, i->text);
    str_shorten_words(&sentence, WORD_MOST);
    array_grow(&m->lack, &m->lack_capacity, m->lack_count, sizeof *m->lack);
    m->lack[m->lack_count] =
        (struct lack){module_string(m, why, strlen(why)), module_string(m, sentence.data, sentence.length)};
    i->aux[0] = (uint32_t)m->lack_count++;
    str_release(&sentence);
}

static bool bind_all(struct parser *p) {
    for (size_t k = 0; k < p->m->insns; k++) {
        struct insn *i = &p->m->code[k];
        char why[256] = "";
        if (!p->bind(i, why, sizeof why)) {
            add_lack(p, i, i->op == OP_unknown ? p->reason[i->aux[0]] : why);
        } else if (!operands_fit(i, why, sizeof why)) {
            p->lex.token.line = i->line;
            return parse_error(p, "%s in '%s'", why, i->text);
        }
    }
    return true;
}

/* A warp's registers, here those of this function and what comes before them. */
static bool fits_bank(struct parser *p, const struct sg_function *f, uint64_t bytes) {
    return bytes <= BANK_MOST ||
           parse_error(p, "the registers of a warp take %llu bytes with those of %s: %d are possible",
                       (unsigned long long)bytes, f->name, BANK_MOST);
}

/* At .entry or .func. The parameters of a function and its body share one scope. */
static bool parse_function(struct parser *p, bool entry) {
    lexer_next(&p->lex);
    if (parse_accept(p, ".attribute"))
        while (p->lex.token.kind != TOK_END && !parse_accept(p, ")"))
            lexer_next(&p->lex);
    struct lexer at_return = p->lex;
    bool returns = !entry && token_is(&p->lex.token, "(");
    while (returns && p->lex.token.kind != TOK_END && !parse_accept(p, ")"))
        lexer_next(&p->lex);
    struct token name = p->lex.token;
    if (name.kind != TOK_NAME)
        return parse_error(p, "the name of a function is missing");
    lexer_next(&p->lex);
    struct sg_function *f = function_declare(p, &name, entry);
    if (!f)
        return false;
    f->params = f->returns = f->param_bytes = f->local_bytes = 0; /* a prototype may have come before */
    p->f = f;
    p->scope = 1;
    if (returns) {
        struct lexer behind = p->lex;
        p->lex = at_return;
        if (!parse_parameters(p))
            return false;
        f->returns = f->params;
        p->lex = behind;
    }
    if (token_is(&p->lex.token, "(") && !parse_parameters(p))
        return false;
    if (!parse_attributes(p))
        return false;
    p->scope = 0;
    bool good = true;
    if (!parse_accept(p, ";")) {
        f->defined = true;
        f->first = (uint32_t)p->m->insns;
        f->first_target = (uint32_t)p->m->target_count;
        f->vregs = 0;
        vreg_new(f, 16); /* register 0: what `_` writes */
        good = parse_body(p);
        f->end = (uint32_t)p->m->insns;
        if (good)
            function_allocate_registers(f);
        good = good && fits_bank(p, f, f->frame_bytes);
    } else {
        p->scope = 1;
        good = scope_close(p);
    }
    free(f->vreg);
    f->vreg = NULL;
    f->vregs = f->vreg_capacity = 0;
    p->f = NULL;
    return good;
}

static bool parse_top(struct parser *p) {
    bool external = false;
    while (p->lex.token.kind != TOK_END) {
        const struct token *t = &p->lex.token;
        bool good = true;
        if (token_is(t, ".version") || token_is(t, ".target") || token_is(t, ".address_size") || token_is(t, ".file") ||
            token_is(t, ".loc"))
            parse_skip_line(p);
        else if (token_is(t, ".section"))
            skip_section(p);
        else if (token_is(t, ".pragma") || token_is(t, ".alias"))
            good = parse_skip_statement(p);
        else if (token_is(t, ".visible") || token_is(t, ".weak") || token_is(t, ".common") || token_is(t, ".extern")) {
            external = token_is(t, ".extern");
            lexer_next(&p->lex);
            continue;
        } else if (token_is(t, ".entry") || token_is(t, ".func"))
            good = parse_function(p, token_is(t, ".entry"));
        else if (token_is(t, ".global") || token_is(t, ".const") || token_is(t, ".shared"))
            good = parse_variable(p, external);
        else
            good = parse_error(p, "unknown directive %.*s", (int)t->length, t->text);
        if (!good)
            return false;
        external = false;
    }
    return true;
}

static bool fits_layout(struct parser *p, const struct sg_function *f, uint32_t frame, uint32_t local) {
    if (local > SPACE_MOST)
        return parse_error(p, "the .local variables of all functions take %u bytes with those of %s: %d are possible",
                           local, f->name, SPACE_MOST);
    return fits_bank(p, f, frame);
}

/* Lays functions out behind each other, so that code, frames and local memory have fixed places. */
static bool module_layout(struct parser *p) {
    struct sg_module *m = p->m;
    m->shared_bytes = (m->shared_bytes + 127) / 128 * 128;
    for (size_t k = 0; k < m->functions; k++) {
        struct sg_function *f = m->function[k];
        f->local_bytes = (f->local_bytes + 15) / 16 * 16;
        m->shared_most = f->shared_bytes > m->shared_most ? f->shared_bytes : m->shared_most;
        m->func_opaque |= f->opaque_pointers && !f->entry;
        if (f->entry || !f->defined)
            continue;
        f->frame_base = m->func_frame;
        f->local_base = m->func_local;
        m->func_frame += f->frame_bytes;
        m->func_local += f->local_bytes;
        if (!fits_layout(p, f, m->func_frame, m->func_local))
            return false;
    }
    for (size_t k = 0; k < m->functions; k++) {
        struct sg_function *f = m->function[k];
        if (f->entry && f->calls) {
            f->frame_base = m->func_frame;
            f->local_base = m->func_local;
            if (!fits_layout(p, f, function_frame_total(f), function_local_total(f)))
                return false;
        }
    }
    for (size_t k = 0; k < m->functions; k++)
        function_rebase(m->function[k]);
    module_apply_fixups(m, true);
    module_index(m);
    return true;
}

struct sg_module *ptx_parse(const char *ptx, size_t length, ptx_bind_fn *bind, char *error, size_t error_size) {
    if (length > TEXT_MOST) {
        snprintf(error, error_size, "a PTX text of %zu bytes: %d are possible", length, TEXT_MOST);
        return NULL;
    }
    struct parser *p = xcalloc(1, sizeof *p);
    struct sg_module *m = xcalloc(1, sizeof *m);
    m->text = xcalloc(1, length + 1);
    m->dynamic_align = 16;
    memcpy(m->text, ptx, length);
    p->m = m;
    p->bind = bind;
    p->error = error;
    p->error_size = error_size;
    error[0] = '\0';
    lexer_init(&p->lex, m->text, strlen(m->text));
    bool good = parse_top(p) && module_layout(p) && bind_all(p);
    free(p->symbol);
    free(p->bucket);
    free(p->first_use);
    free(p->use);
    free(p->reason);
    if (p->f)
        free(p->f->vreg);
    free(p);
    if (!good) {
        sg_module_free(m);
        return NULL;
    }
    return m;
}
