/* Calls. Parameters and results travel through .param variables, which are local memory of the thread: the callee's
 * have fixed places, so a call copies its arguments there and a return copies the results back. */
#include "parser.h"

#include <string.h>

/* `(a, b)`: places in the caller's local memory. */
static bool parse_list(struct parser *p, struct operand *list) {
    enum { MOST = 64 };
    _Static_assert(MOST <= UINT8_MAX, "operand.count holds every number of arguments");
    struct operand element[MOST];
    uint32_t count = 0;
    while (!token_is(&p->lex.token, ")")) {
        struct token t = p->lex.token;
        uint32_t range;
        const struct symbol *s = t.kind == TOK_NAME ? symbol_find(p, t.text, t.length, &range) : NULL;
        if (!s || s->kind != SYM_LOCAL)
            return parse_error(p, "argument %.*s of a call is not a .param variable", (int)t.length, t.text);
        if (count == MOST)
            return parse_error(p, "a call with more than %d arguments", MOST);
        uint32_t size = (uint32_t)s->size;
        lexer_next(&p->lex);
        if (!parse_operand_symbol(p, &t, 8, &element[count]))
            return false;
        element[count].kind = O_ADDRESS;
        element[count++].imm = size;
        if (!parse_accept(p, ","))
            break;
    }
    struct operand *kept = module_alloc(p->m, (count + 1) * sizeof *kept);
    memcpy(kept, element, count * sizeof *kept);
    *list = (struct operand){.kind = O_LIST, .count = (uint8_t)count, .vec = kept};
    return parse_expect(p, ")");
}

/* dst[0]: results. src[0]: the callee, a function number or a register that holds one. src[1]: arguments. */
bool parse_call(struct parser *p, struct insn *i) {
    struct operand none = {.kind = O_LIST};
    p->f->calls = true;
    i->dst[0] = i->src[1] = none;
    if (parse_accept(p, "(") && (!parse_list(p, &i->dst[0]) || !parse_expect(p, ",")))
        return false;
    struct token name = p->lex.token;
    uint32_t range;
    const struct symbol *s = name.kind == TOK_NAME ? symbol_find(p, name.text, name.length, &range) : NULL;
    if (s && s->kind == SYM_REGS && p->f->vreg[s->index + range].width != 8) {
        return parse_error(p, "the callee %.*s is not in a register of 64 bits", (int)name.length, name.text);
    } else if (s && s->kind == SYM_REGS) {
        p->f->vreg[s->index + range].used = true;
        i->src[0] = (struct operand){
            .kind = O_REG, .width = p->f->vreg[s->index + range].width, .slot = (s->index + range) & 0x7fffffff};
    } else if (s && s->kind == SYM_FUNCTION) {
        i->src[0] = (struct operand){.kind = O_IMM, .imm = s->index};
    } else {
        return parse_error(p, "the callee %.*s is not declared", (int)name.length, name.text);
    }
    lexer_next(&p->lex);
    i->dsts = 1;
    i->srcs = 2;
    if (!parse_accept(p, ","))
        return true;
    if (parse_accept(p, "(")) {
        if (!parse_list(p, &i->src[1]))
            return false;
        if (!parse_accept(p, ","))
            return true;
    }
    lexer_next(&p->lex); /* the prototype of an indirect call */
    return true;
}
