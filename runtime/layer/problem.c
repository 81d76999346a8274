#include "problem.h"
#include "templates/gemm_args.h"
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Keeps every index of a dimension in an int, with room for padding. */
#define LARGEST_DIMENSION (1 << 24)

enum mt_status problem_check(const struct problem *p) {
    const struct {
        char name;
        int value;
    } dimension[] = {{'M', p->m}, {'N', p->n}, {'K', p->k}};
    for (int i = 0; i < 3; i++)
        if (dimension[i].value < 1 || dimension[i].value > LARGEST_DIMENSION)
            return fail(MT_USAGE, "%c is %d; it must be between 1 and %d", dimension[i].name, dimension[i].value,
                        LARGEST_DIMENSION);
    if (p->group != 64 && p->group != 128 && p->group != 256)
        return fail(MT_USAGE, "the group size is %d; it must be 64, 128 or 256", p->group);
    if (p->scheme.pct8 < 0 || p->scheme.pct8 > 100)
        return fail(MT_USAGE, "%d percent of 8-bit features; it must be between 0 and 100", p->scheme.pct8);
    return MT_OK;
}

bool problem_equal(const struct problem *a, const struct problem *b) {
    return a->m == b->m && a->n == b->n && a->k == b->k && a->group == b->group && a->scheme.pct8 == b->scheme.pct8 &&
           a->dtype == b->dtype && a->bias == b->bias;
}

int problem_k_padded(const struct problem *p) {
    return (p->k + MT_K_PAD - 1) / MT_K_PAD * MT_K_PAD;
}

int problem_groups(const struct problem *p) {
    return (problem_k_padded(p) + p->group - 1) / p->group;
}

int problem_rows8(const struct problem *p) {
    return (int)(((int64_t)p->n * p->scheme.pct8 + 50) / 100);
}

/* "w", a decimal number of bits with at most two places, "a8". */
enum mt_status scheme_parse(const char *text, struct scheme *out) {
    int whole, tenths = 0, hundredths = 0;
    const char *at = text;
    if (*at++ != 'w' || *at < '4' || *at > '8')
        goto bad;
    whole = *at++ - '0';
    if (*at == '.') {
        at++;
        if (*at < '0' || *at > '9')
            goto bad;
        tenths = *at++ - '0';
        if (*at >= '0' && *at <= '9')
            hundredths = *at++ - '0';
    }
    /* bits = 4 + 4 * pct / 100, all in hundredths of a bit. */
    int above = (whole - 4) * 100 + tenths * 10 + hundredths;
    if (strcmp(at, "a8") || above > 400 || above % 4)
        goto bad;
    out->pct8 = above / 4;
    return MT_OK;
bad:
    return fail(
        MT_USAGE,
        "unknown scheme \"%s\": w4a8, w8a8, or w<bits>a8 for a mix, 0.04 bits for each percent of 8-bit features "
        "(w4.4a8 has 10, w4.8a8 has 20, w6a8 has 50)",
        text);
}

const char *scheme_name(struct scheme scheme, char out[16]) {
    snprintf(out, 16, "w%.3ga8", 4 + 4 * scheme.pct8 / 100.0);
    return out;
}

enum mt_status dtype_parse(const char *text, enum dtype *out) {
    for (int i = DTYPE_F16; i <= DTYPE_BF16; i++) {
        if (!strcmp(text, dtype_name((enum dtype)i))) {
            *out = (enum dtype)i;
            return MT_OK;
        }
    }
    return fail(MT_USAGE, "unknown data type \"%s\": fp16 or bf16", text);
}

const char *dtype_name(enum dtype dtype) {
    return dtype == DTYPE_BF16 ? "bf16" : "fp16";
}
