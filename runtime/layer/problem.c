#include "problem.h"
#include "runtime/base/near.h"
#include "templates/gemm_args.h"
#include <ctype.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Keeps every index of a dimension in an int, with room for padding. */
#define LARGEST_DIMENSION (1 << 24)
/* Elements of X, W or Y: beyond every memory, and the bytes of all operands together are counted in 64 bits. */
#define LARGEST_MATRIX ((int64_t)1 << 40)

enum mt_status problem_check(const struct problem *p) {
    const struct {
        char name;
        int value;
    } dimension[] = {{'M', p->m}, {'N', p->n}, {'K', p->k}};
    for (int i = 0; i < 3; i++)
        if (dimension[i].value < 1 || dimension[i].value > LARGEST_DIMENSION)
            return fail(MT_USAGE, "%c is %d; it must be between 1 and %d", dimension[i].name, dimension[i].value,
                        LARGEST_DIMENSION);
    for (int i = 0; i < 3; i++) {
        const int j = (i + 1) % 3;
        if ((int64_t)dimension[i].value * dimension[j].value > LARGEST_MATRIX)
            return fail(MT_USAGE, "%c x %c is %d x %d; a matrix can have at most %" PRId64 " elements",
                        dimension[i].name, dimension[j].name, dimension[i].value, dimension[j].value, LARGEST_MATRIX);
    }
    if (p->group != 64 && p->group != 128 && p->group != 256)
        return fail(MT_USAGE, "the group size is %d; it must be 64, 128 or 256", p->group);
    if (p->rows8 < 0 || p->rows8 > p->n)
        return fail(MT_USAGE, "%d of %d output features are to keep 8 bits; it must be between 0 and all of them",
                    p->rows8, p->n);
    return MT_OK;
}

int problem_most_tokens(const struct problem *p) {
    const int64_t most = LARGEST_MATRIX / (p->n > p->k ? p->n : p->k);
    return most < LARGEST_DIMENSION ? (int)most : LARGEST_DIMENSION;
}

bool problem_symmetric(const struct problem *p) {
    return p->symmetric && p->rows8 < p->n;
}

bool problem_has_zeros(const struct problem *p) {
    return !p->symmetric && p->rows8 < p->n;
}

bool problem_equal(const struct problem *a, const struct problem *b) {
    return a->m == b->m && a->n == b->n && a->k == b->k && a->rows8 == b->rows8 && a->group == b->group &&
           problem_symmetric(a) == problem_symmetric(b) && a->dtype == b->dtype && a->bias == b->bias;
}

/* Without zero points comes behind with them: problem_scheme() adds one. */
enum { W4A8, W4A8_SYM, W8A8, MIXED, MIXED_SYM, SCHEMES };
static const char *const schemes[SCHEMES] = {"w4a8", "w4a8-sym", "w8a8", "mixed", "mixed-sym"};

const char *problem_scheme(const struct problem *p) {
    return schemes[p->rows8 == p->n ? W8A8 : (p->rows8 ? MIXED : W4A8) + p->symmetric];
}

bool problem_scheme_known(const char *name) {
    int i = 0;
    while (i < SCHEMES && strcmp(schemes[i], name) != 0)
        i++;
    return i < SCHEMES;
}

enum mt_status problem_take_scheme(struct problem *p, const char *scheme) {
    size_t length = strlen(scheme);
    p->symmetric = length > 4 && !strcmp(scheme + length - 4, "-sym");
    if (strcmp(scheme, problem_scheme(p)) != 0)
        return fail(MT_USAGE, "a layer with %d of %d features in 8 bits has scheme \"%s\", not \"%s\"", p->rows8, p->n,
                    problem_scheme(p), scheme);
    return MT_OK;
}

int problem_k_padded(const struct problem *p) {
    return (p->k + MT_K_PAD - 1) / MT_K_PAD * MT_K_PAD;
}

int problem_groups(const struct problem *p) {
    return (problem_k_padded(p) + p->group - 1) / p->group;
}

/* "p", a percentage with at most one decimal. -1 if it is none. */
static int share_parse(const char *text, size_t length) {
    char *end, copy[8];
    if (length < 2 || length >= sizeof copy || *text != 'p' || !isdigit((unsigned char)text[1]))
        return -1;
    snprintf(copy, sizeof copy, "%.*s", (int)length, text);
    long per_mille = 10 * strtol(copy + 1, &end, 10);
    if (end[0] == '.' && isdigit((unsigned char)end[1])) {
        per_mille += end[1] - '0';
        end += 2;
    }
    return *end || per_mille > 1000 ? -1 : (int)per_mille;
}

enum mt_status scheme_parse(const char *text, struct scheme *out) {
    const char *minus = strchr(text, '-');
    size_t length = minus ? (size_t)(minus - text) : strlen(text);
    bool w4 = length == 4 && !memcmp(text, "w4a8", 4), w8 = !strcmp(text, "w8a8");
    *out = (struct scheme){.per_mille = w4 ? 0 : w8 ? 1000 : share_parse(text, length), .symmetric = minus != NULL};
    if (out->per_mille >= 0 && (!minus || !strcmp(minus, "-sym")))
        return MT_OK;
    static const char *const usual[] = {"w4a8", "w8a8", "w4a8-sym", "p10", "p10-sym"};
    struct near near = {.wanted = text};
    struct str instead = {0};
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        near_offer(&near, usual[i]);
    near_print(&near,
               ": w4a8, w8a8, or p10 where 10 % of the features of each layer keep 8 bits; w4a8-sym and p10-sym where "
               "4-bit features have no zero points",
               &instead);
    enum mt_status status = fail(MT_USAGE, "unknown scheme \"%s\"%s", text, instead.data);
    str_release(&instead);
    return status;
}

int scheme_rows8(struct scheme scheme, int n) {
    return (int)(((int64_t)n * scheme.per_mille + 500) / 1000);
}

void scheme_apply(struct scheme scheme, struct problem *p) {
    p->rows8 = scheme_rows8(scheme, p->n);
    p->symmetric = scheme.symmetric;
}

enum mt_status problem_set_scheme(struct problem *p, const char *text) {
    struct scheme scheme;
    enum mt_status status = scheme_parse(text, &scheme);
    if (status == MT_OK)
        scheme_apply(scheme, p);
    return status;
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
