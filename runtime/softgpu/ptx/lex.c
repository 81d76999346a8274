#include "lex.h"
#include "runtime/base/number.h"

#include <stdlib.h>
#include <string.h>

static bool is_name_start(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' || c == '%';
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_name(char c) {
    return is_name_start(c) || is_digit(c);
}

static void skip_blank(struct lexer *lex) {
    while (lex->at < lex->end) {
        const char *p = lex->at;
        if (*p == '\n') {
            lex->line++;
            lex->at++;
        } else if (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\0') {
            lex->at++;
        } else if (*p == '/' && p + 1 < lex->end && p[1] == '/') {
            while (lex->at < lex->end && *lex->at != '\n')
                lex->at++;
        } else if (*p == '/' && p + 1 < lex->end && p[1] == '*') {
            for (lex->at += 2; lex->at < lex->end && !(lex->at[-1] == '*' && lex->at[0] == '/' && lex->at - 1 > p + 1);
                 lex->at++)
                lex->line += *lex->at == '\n';
            lex->at += lex->at < lex->end;
        } else {
            return;
        }
    }
}

static unsigned hex_value(char c) {
    return is_digit(c) ? (unsigned)(c - '0') : (unsigned)((c | 32) - 'a') + 10;
}

static bool is_hex(char c) {
    return is_digit(c) || ((c | 32) >= 'a' && (c | 32) <= 'f');
}

/* One more digit; false if the number then has more than 64 bits. */
static bool add_digit(uint64_t *bits, unsigned base, unsigned digit) {
    return !__builtin_mul_overflow(*bits, base, bits) && !__builtin_add_overflow(*bits, digit, bits);
}

/* 0x…, 0b…, 0…, decimal; 0f and 0d with the bits in hexadecimal; or a decimal fraction. */
static void read_number(struct lexer *lex, struct token *t) {
    const char *p = lex->at, *end = lex->end;
    char second = p + 1 < end ? (char)(p[1] | 32) : ' ';
    bool fits = true;
    t->kind = TOK_INT;
    if (*p == '0' && (second == 'x' || second == 'f' || second == 'd')) {
        for (p += 2; p < end && is_hex(*p); p++)
            fits &= add_digit(&t->bits, 16, hex_value(*p));
        t->kind = second == 'x' ? TOK_INT : TOK_FLOAT;
        t->single = second == 'f';
        fits &= !t->single || t->bits <= UINT32_MAX;
    } else if (*p == '0' && second == 'b') {
        for (p += 2; p < end && (*p == '0' || *p == '1'); p++)
            fits &= add_digit(&t->bits, 2, (unsigned)(*p - '0'));
    } else {
        unsigned base = *p == '0' ? 8 : 10;
        const char *q = p;
        for (; q < end && is_digit(*q); q++)
            fits &= add_digit(&t->bits, base, (unsigned)(*q - '0'));
        if (q < end && (*q == '.' || (*q | 32) == 'e')) {
            char *stop;
            double value = number_parse(p, &stop);
            memcpy(&t->bits, &value, sizeof value);
            t->kind = TOK_FLOAT;
            fits = true;
            q = stop;
        }
        p = q;
    }
    while (p < end && t->kind == TOK_INT && (*p == 'U' || *p == 'u'))
        p++;
    t->kind = fits ? t->kind : TOK_HUGE;
    lex->at = p;
}

void lexer_next(struct lexer *lex) {
    skip_blank(lex);
    struct token *t = &lex->token;
    *t = (struct token){.kind = TOK_END, .text = lex->at, .line = lex->line};
    if (lex->at == lex->end)
        return;
    const char *p = lex->at;
    if (is_digit(*p)) {
        read_number(lex, t);
    } else if (is_name_start(*p)) {
        t->kind = TOK_NAME;
        while (lex->at < lex->end && is_name(*lex->at))
            lex->at++;
    } else if (*p == '.' && p + 1 < lex->end && is_name(p[1])) {
        t->kind = TOK_DOT;
        lex->at++;
        while (lex->at < lex->end &&
               (is_name(*lex->at) || (*lex->at == ':' && (lex->at[1] == ':' || lex->at[-1] == ':'))))
            lex->at++;
    } else if (*p == '"') {
        t->kind = TOK_STRING;
        for (lex->at++; lex->at < lex->end && *lex->at != '"'; lex->at++)
            lex->line += *lex->at == '\n';
        lex->at += lex->at < lex->end;
    } else {
        t->kind = strchr("{}()[]<>,;:=+-!@|*~", *p) ? TOK_PUNCT : TOK_BAD;
        lex->at++;
    }
    t->length = (size_t)(lex->at - t->text);
}

void lexer_init(struct lexer *lex, const char *text, size_t length) {
    *lex = (struct lexer){.at = text, .end = text + length, .line = 1};
    lexer_next(lex);
}

bool token_is(const struct token *token, const char *text) {
    return (token->kind == TOK_NAME || token->kind == TOK_DOT || token->kind == TOK_PUNCT) &&
           token->length == strlen(text) && memcmp(token->text, text, token->length) == 0;
}
