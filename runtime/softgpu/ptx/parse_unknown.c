/* Statements that the device does not have. What they do is not known, but a text that consists of words and
 * brackets at random is no PTX, so it is looked at whether they are written as instructions are. */
#include "names.h"
#include "parser.h"
#include "runtime/base/array.h"

#include <string.h>

/* `lower_case1` */
static bool is_mnemonic(const struct token *t) {
    for (size_t k = 0; k < t->length; k++) {
        const char c = t->text[k];
        if (!((c >= 'a' && c <= 'z') || c == '_' || (k && c >= '0' && c <= '9')))
            return false;
    }
    return t->kind == TOK_NAME;
}

/* A name among the operands; `%tid.x` is two tokens. */
static bool check_name(struct parser *p) {
    const struct token t = p->lex.token;
    uint32_t range;
    const struct symbol *s = symbol_find(p, t.text, t.length, &range);
    if (s && s->kind == SYM_REGS)
        p->f->vreg[s->index + range].used = true;
    lexer_next(&p->lex);
    size_t length = t.length;
    if (!s && t.text[0] == '%' && p->lex.token.kind == TOK_DOT && p->lex.token.text == t.text + t.length) {
        length += p->lex.token.length;
        lexer_next(&p->lex);
    }
    return s || token_is(&t, "_") || token_is(&t, "WARP_SZ") || special_exists(t.text, length) ||
           parse_error(p, "%.*s is not declared", (int)length, t.text);
}

/* A bracket, or another character of operands. */
static bool check_punctuation(struct parser *p, char *open, unsigned *depth, unsigned most) {
    static const char opening[] = "{[(", closing[] = "}])";
    const struct token *t = &p->lex.token;
    const char c = *t->text, *kind = strchr(opening, c);
    if (kind && *depth == most)
        return parse_error(p, "brackets in brackets in '%.*s'", (int)t->length, t->text);
    if (kind)
        open[(*depth)++] = closing[kind - opening];
    else if (strchr(closing, c) ? !*depth || open[--*depth] != c : !strchr(",|+-!~@", c))
        return parse_error(p, "expected ';' before '%c'", c);
    lexer_next(&p->lex);
    return true;
}

bool parse_unknown(struct parser *p, size_t first, uint32_t line) {
    enum { NESTED = 8 };
    char open[NESTED];
    unsigned depth = 0;
    const struct token name = p->lex.token;
    p->m->insns = first; /* without what its first operands became */
    lexer_next(&p->lex);
    if (!is_mnemonic(&name) || token_is(&p->lex.token, ";"))
        return parse_error(p, "unknown instruction '%.*s'", (int)(name.length < 100 ? name.length : 100), name.text);
    while (!token_is(&p->lex.token, ";")) {
        const struct token *t = &p->lex.token;
        if (t->kind == TOK_HUGE)
            return parse_huge(p, t);
        if (t->kind == TOK_NAME ? !check_name(p) : t->kind == TOK_PUNCT && !check_punctuation(p, open, &depth, NESTED))
            return false;
        if (t->kind == TOK_END || t->kind == TOK_STRING || t->kind == TOK_BAD)
            return parse_error(p, "expected ';' before '%.*s'", (int)t->length, t->text);
        if (t->kind == TOK_DOT || t->kind == TOK_INT || t->kind == TOK_FLOAT)
            lexer_next(&p->lex);
    }
    if (depth)
        return parse_error(p, "expected '%c' before ';'", open[depth - 1]);
    array_grow(&p->reason, &p->reason_capacity, p->reasons, sizeof *p->reason);
    p->reason[p->reasons] = module_string(p->m, p->lack, strlen(p->lack));
    insn_emit(p, OP_unknown, line)->aux[0] = (uint32_t)p->reasons++;
    return true;
}
