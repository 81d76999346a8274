/* Tokens of a PTX text. */
#ifndef SG_PTX_LEX_H
#define SG_PTX_LEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* TOK_DOT is a directive or modifier with its dot (".global", ".L2::128B"); TOK_PUNCT one character;
 * TOK_HUGE a number that does not fit into the 64 bits of an integer or the 32 of a float. */
enum token_kind { TOK_END, TOK_NAME, TOK_DOT, TOK_INT, TOK_HUGE, TOK_FLOAT, TOK_STRING, TOK_PUNCT, TOK_BAD };

struct token {
    enum token_kind kind;
    const char *text; /* in the source, not terminated */
    size_t length;
    uint32_t line;
    uint64_t bits; /* TOK_INT: the value. TOK_FLOAT: the bits of a double, or of a float if `single` */
    bool single;   /* 0f… literal */
};

struct lexer {
    const char *at, *end;
    uint32_t line;
    struct token token; /* the current one */
};

/* The text ends with a 0 behind its length. The first token is current. */
void lexer_init(struct lexer *lex, const char *text, size_t length);
void lexer_next(struct lexer *lex);
bool token_is(const struct token *token, const char *text); /* name, dot or punctuation equal to text */

#endif
