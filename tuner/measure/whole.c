#include "whole.h"
#include "runtime/base/str.h"
#include "runtime/layer/half.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Tokens and features whose exact sums are computed; elements of two outputs that are compared. */
enum { SAMPLED = 32, COMPARED = 1 << 22 };
enum { POISON_BYTE = 0xFF, POISON = 0xFFFF /* NaN in fp16 and bf16 */ };

uint16_t *whole_output(const struct operands *o, timed_launch launch, void *context) {
    const struct driver *drv = &o->dev->drv;
    const size_t bytes = (size_t)o->problem.m * (size_t)o->problem.n * 2;
    uint16_t *y = xmalloc(bytes);
    if (device_check(o->dev, drv->MemsetD8(o->y.set[0], POISON_BYTE, bytes), "cuMemsetD8") ||
        device_check(o->dev, drv->CtxSynchronize(), "cuMemsetD8") || launch(context, 0, NULL) ||
        device_check(o->dev, drv->MemcpyDtoH(y, o->y.set[0], bytes), "running the kernel")) {
        free(y);
        return NULL;
    }
    return y;
}

/* ---- against exact sums ---- */

static int sampled(int of) {
    return of < SAMPLED ? of : SAMPLED;
}

/* The first, the last, and what lies evenly between them. */
static int place(int index, int of) {
    return of <= SAMPLED ? index : (int)((int64_t)index * (of - 1) / (SAMPLED - 1));
}

/* The sampled rows of an operand [rows][k], whose rows on the device are `ldw` elements apart. */
static uint16_t *read_rows(const struct operands *o, CUdeviceptr from, int rows, enum mt_status *status) {
    const size_t k = (size_t)o->problem.k;
    uint16_t *out = xmalloc((size_t)sampled(rows) * k * sizeof *out);
    for (int i = 0; i < sampled(rows) && !*status; i++)
        *status = device_check(o->dev,
                               o->dev->drv.MemcpyDtoH(out + (size_t)i * k,
                                                      from + (CUdeviceptr)place(i, rows) * (CUdeviceptr)o->ldw * 2,
                                                      k * sizeof *out),
                               "cuMemcpyDtoH");
    return out;
}

/* The bound on sums in fp32 grows with K squared, what they lose does not: no more is allowed than 2^-7 of what an element
 * is in the mean, or 2^-4 in bf16. That leaves room for parts of K that a library adds in the output's type. */
static void cap_mass(struct reference *reference, enum dtype dtype) {
    const size_t count = (size_t)reference->m * (size_t)reference->n;
    double squares = 0;
    for (size_t i = 0; i < count; i++)
        squares += reference->y[i] * reference->y[i];
    const double most = sqrt(squares / (double)count) * (dtype == DTYPE_BF16 ? 0x1p-4 : 0x1p-7) * 0x1p20;
    for (size_t i = 0; i < count; i++)
        reference->mass[i] = fmin(reference->mass[i], most);
}

static void compare_sample(const struct operands *o, const uint16_t *x, const uint16_t *w, const uint16_t *y,
                           struct check *out) {
    struct problem small = o->problem;
    struct reference reference;
    struct verdict *v = &out->verdict;
    small.m = sampled(o->problem.m);
    small.n = sampled(o->problem.n);
    uint16_t *got = xmalloc((size_t)small.m * (size_t)small.n * sizeof *got);
    for (int m = 0; m < small.m; m++)
        for (int n = 0; n < small.n; n++)
            got[m * small.n + n] =
                y[(size_t)place(m, o->problem.m) * (size_t)o->problem.n + (size_t)place(n, o->problem.n)];
    plain_reference(&small, x, w, NULL, &reference);
    cap_mass(&reference, small.dtype);
    reference_compare(&reference, small.dtype, got, small.n, v);
    if (v->wrong)
        check_wrong(out, "%ld of %ld elements are wrong; Y[%d, %d] is %.9g, not %.9g (allowed error %.3g)", v->wrong,
                    (long)small.m * small.n, place(v->first_m, o->problem.m), place(v->first_n, o->problem.n), v->got,
                    v->want, v->allowed);
    reference_release(&reference);
    free(got);
}

static bool all_written(const struct operands *o, const uint16_t *y, struct check *out) {
    const size_t n = (size_t)o->problem.n, count = (size_t)o->problem.m * n;
    for (size_t i = 0; i < count; i++)
        if (y[i] == POISON) {
            check_wrong(out, "it does not write Y[%zu, %zu]", i / n, i % n);
            return false;
        }
    return true;
}

void whole_product(const struct operands *o, const uint16_t *y, struct check *out) {
    enum mt_status status = MT_OK;
    if (!all_written(o, y, out))
        return;
    uint16_t *x = read_rows(o, o->x.set[0], o->problem.m, &status);
    uint16_t *w = read_rows(o, o->weights[0].set[0], o->problem.n, &status);
    if (status)
        check_failure(o->dev, out);
    else
        compare_sample(o, x, w, y, out);
    free(x);
    free(w);
}

/* ---- against another output ---- */

void whole_alike(const struct operands *o, const uint16_t *y, const uint16_t *other, struct check *out) {
    const enum dtype dtype = o->problem.dtype;
    const size_t n = (size_t)o->problem.n, count = (size_t)o->problem.m * n;
    const size_t step = count / COMPARED | 1; /* odd: all columns of a tile come up */
    const float ulps = dtype == DTYPE_BF16 ? 0x1p-6f : 0x1p-9f;
    float largest = 0;
    if (!all_written(o, y, out))
        return;
    for (size_t i = 0; i < count; i += step)
        largest = fmaxf(largest, fabsf(dtype_to_float(dtype, other[i])));
    for (size_t i = 0; i < count; i += step) {
        if (y[i] == other[i])
            continue;
        const float a = dtype_to_float(dtype, y[i]), b = dtype_to_float(dtype, other[i]);
        const float allowed =
            ulps * fabsf(b) + 0x1p-13f * largest; /* where terms cancel, sums lose more than they hold */
        if (fabsf(a - b) <= allowed)
            continue;
        check_wrong(out, "its full-size output is wrong: Y[%zu, %zu] is %.9g, and %.9g where K is not shared", i / n,
                    i % n, (double)a, (double)b);
        return;
    }
}
