#include "linear.h"
#include "runtime/base/parallel.h"
#include "runtime/base/str.h"
#include "runtime/layer/half.h"
#include "runtime/layer/quant.h"
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

void linear_release(struct linear *linear) {
    free(linear->name);
    free(linear->stored);
    *linear = (struct linear){0};
}

bool linear_is8(const struct linear *linear, int row) {
    return (linear->stored ? linear->stored[row] : 0) < linear->rows8;
}

/* ---- findings ---- */

void linear_findings_add(struct linear_findings *to, const struct linear_findings *more) {
    if (more->fault && (!to->fault || more->row < to->row)) {
        to->fault = more->fault;
        to->row = more->row;
        to->at = more->at;
        to->value = more->value;
    }
    if (more->inexact && (!to->inexact || more->inexact_row < to->inexact_row)) {
        to->inexact_row = more->inexact_row;
        to->inexact_group = more->inexact_group;
        to->inexact_value = more->inexact_value;
    }
    to->inexact += more->inexact;
    to->worst = more->worst > to->worst ? more->worst : to->worst;
    to->zeros_are_8 = to->zeros_are_8 && more->zeros_are_8;
}

static void note_fault(struct linear_findings *found, enum linear_fault fault, int row, int at, double value) {
    if (!found->fault) {
        found->fault = fault;
        found->row = row;
        found->at = at;
        found->value = value;
    }
}

/* ---- one feature ---- */

float linear_number(const struct tensor *tensor, size_t at) {
    int16_t wide;
    int32_t whole;
    float f;
    switch (tensor->type) {
    case TENSOR_U8:
    case TENSOR_BOOL:
        return tensor->data[at];
    case TENSOR_I8:
        return (int8_t)tensor->data[at];
    case TENSOR_I16:
        memcpy(&wide, tensor->data + at * sizeof wide, sizeof wide);
        return wide;
    case TENSOR_I32:
        memcpy(&whole, tensor->data + at * sizeof whole, sizeof whole);
        return (float)whole;
    default:
        tensor_floats(tensor, at, 1, &f);
        return f;
    }
}

static uint16_t scale_take(float s, int row, int g, struct linear_findings *found) {
    const uint16_t half = half_from_float(s);
    const float back = half_to_float(half);
    if (!isfinite(back))
        note_fault(found, FAULT_SCALE, row, g, s);
    else if (back != s) {
        const double change = fabs((double)back - s) / fabs((double)s);
        if (!found->inexact++) {
            found->inexact_row = row;
            found->inexact_group = g;
            found->inexact_value = s;
        }
        found->worst = change > found->worst ? change : found->worst;
    }
    return half;
}

/* Scales of the stored groups. */
static void scales_read(const struct linear *l, int row, uint16_t *out, struct linear_findings *found) {
    const size_t first = (size_t)(l->stored ? l->stored[row] : row) * l->scale_row;
    for (int g = 0; g < l->groups; g++) {
        const size_t at = first + (size_t)g * l->scale_group;
        float s;
        if (l->scales->type == TENSOR_F16) {
            memcpy(&out[g], l->scales->data + at * sizeof *out, sizeof *out);
            if ((out[g] & 0x7c00) == 0x7c00)
                note_fault(found, FAULT_SCALE, row, g, half_to_float(out[g]));
            continue;
        }
        tensor_floats(l->scales, at, 1, &s);
        out[g] = scale_take(s, row, g, found);
    }
}

/* Zero points of the stored groups. */
static void zeros_read(const struct linear *l, int row, bool is8, uint8_t *out, struct linear_findings *found) {
    if (!l->zeros) {
        memset(out, is8 ? 0 : QUANT_SYMMETRIC_ZERO, (size_t)l->groups);
        return;
    }
    if (l->kind == LINEAR_FIELDS)
        field_read(&l->zero, l->zeros->data, row, 1, l->groups, out);
    for (int g = 0; g < l->groups; g++) {
        float z = out[g];
        if (l->kind == LINEAR_MIXLLM)
            z = linear_number(l->zeros, (size_t)g * (size_t)l->n + (size_t)l->stored[row]);
        if (is8) {
            z -= l->kind == LINEAR_FIELDS ? 128 : 0; /* what stands for 0 among 0..255 */
            if (z != 0)
                note_fault(found, FAULT_ZERO8, row, g, z);
            out[g] = 0;
            continue;
        }
        if (!(z >= 0 && z <= 15 && z == floorf(z))) {
            note_fault(found, FAULT_ZERO4, row, g, z);
            z = 0;
        }
        out[g] = (uint8_t)z;
        found->zeros_are_8 = found->zeros_are_8 && out[g] == QUANT_SYMMETRIC_ZERO;
    }
}

/* `out`: of LINEAR_FIELDS with the fields as they are, which become codes. */
static void values_read(const struct linear *l, int row, bool is8, int8_t *out, struct linear_findings *found) {
    if (l->kind == LINEAR_MIXLLM) {
        const float low = is8 ? -128 : 0, high = is8 ? 127 : 15;
        const size_t first = (size_t)l->stored[row] * (size_t)l->k;
        for (int k = 0; k < l->k; k++) {
            float q = linear_number(l->codes, first + (size_t)k);
            if (!(q >= low && q <= high && q == floorf(q))) {
                note_fault(found, FAULT_CODE, row, k, q);
                q = 0;
            }
            out[k] = (int8_t)q;
        }
        return;
    }
    if (is8) {
        for (int k = 0; k < l->k; k++)
            out[k] = (int8_t)((uint8_t)out[k] ^ 0x80); /* 0..255 to -128..127 */
        return;
    }
    for (int k = 0; l->code.word == 1 && k < l->k; k++)
        if ((uint8_t)out[k] > 15)
            note_fault(found, FAULT_CODE, row, k, (int8_t)(out[k] - 8));
}

/* ---- layers ---- */

enum { ROWS_AT_ONCE = 8 }; /* which share words in some formats */

void linear_read(const struct linear *l, int begin, int end, bool values, struct codes *codes,
                 struct linear_findings *findings) {
    const size_t groups = (size_t)l->groups;
    int8_t *q = values && !codes ? xmalloc(ROWS_AT_ONCE * (size_t)l->k) : NULL;
    uint16_t *scales = xmalloc(groups * sizeof *scales);
    uint8_t *zeros = xmalloc(groups);
    for (int row = begin; row < end; row++) {
        const bool is8 = linear_is8(l, row);
        const int later = (row - begin) % ROWS_AT_ONCE, left = end - row;
        int8_t *out = codes ? codes->q + (size_t)row * (size_t)l->k : values ? q + (size_t)later * (size_t)l->k : NULL;
        scales_read(l, row, scales, findings);
        zeros_read(l, row, is8, zeros, findings);
        if (values && l->kind == LINEAR_FIELDS && later == 0)
            field_read(&l->code, l->codes->data, row, left < ROWS_AT_ONCE ? left : ROWS_AT_ONCE, l->k, (uint8_t *)out);
        if (values)
            values_read(l, row, is8, out, findings);
        for (int g = 0; codes && g < codes->groups; g++) {
            const size_t at = (size_t)row * (size_t)codes->groups + (size_t)g;
            codes->scales[at] = scales[l->group ? g : 0];
            codes->zeros[at] = zeros[l->group ? g : 0];
        }
    }
    free(q);
    free(scales);
    free(zeros);
}

struct reading {
    const struct linear *linear;
    struct codes *codes;
    struct linear_findings *findings;
    pthread_mutex_t lock;
};

static void rows_read(void *context, int begin, int end) {
    struct reading *r = context;
    struct linear_findings found = LINEAR_NO_FINDINGS;
    linear_read(r->linear, begin, end, true, r->codes, &found);
    pthread_mutex_lock(&r->lock);
    linear_findings_add(r->findings, &found);
    pthread_mutex_unlock(&r->lock);
}

void linear_read_all(const struct linear *linear, struct codes *codes, struct linear_findings *findings) {
    struct reading r = {linear, codes, findings, PTHREAD_MUTEX_INITIALIZER};
    for (int i = 0; i < linear->n; i++)
        codes->is8[i] = linear_is8(linear, i);
    codes->symmetric = linear->symmetric;
    parallel_for(linear->n, 16, rows_read, &r);
}
