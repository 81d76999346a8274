/* A layer of an opened table, from weights to the result on the device of this program: every element of Y against the
 * exact reference. */
#ifndef TEST_SERVED_H
#define TEST_SERVED_H

#include "runtime/layer/half.h"
#include "runtime/layer/reference.h"
#include "runtime/mixtune.h"
#include "runtime/serve/table.h"
#include "tests/device/parts.h"
#include "tests/unit/serve/settled.h"
#include <stdlib.h>

enum { GAP = 3 /* elements between rows of X and Y */ };

static struct device dev;

static inline CUdeviceptr upload(const void *from, size_t bytes) {
    CUdeviceptr to;
    take(device_check(&dev, dev.drv.MemAlloc(&to, bytes), "allocating"));
    take(device_check(&dev, dev.drv.MemcpyHtoD(to, from, bytes), "copying"));
    return to;
}

static inline void download(void *to, CUdeviceptr from, size_t bytes) {
    take(device_check(&dev, dev.drv.MemcpyDtoH(to, from, bytes), "copying"));
}

static inline float uniform(void) {
    return (float)drand48() * 2 - 1;
}

/* Host copies of what one launch works on. */
struct operands {
    struct problem p;
    float *w;
    uint16_t *x, *bias, *y; /* x and y with GAP unused elements after each row */
    struct quant_layer layer;
    struct quant_acts acts;
    struct reference ref;
};

static inline void operands_init(struct operands *o, const struct mt_layer *layer, int m) {
    o->p = layer->problem;
    o->p.m = m;
    o->p.bias = 1;
    int n = o->p.n, k = o->p.k, ldx = k + GAP, ldy = n + GAP;
    o->w = xmalloc(sizeof *o->w * (size_t)n * (size_t)k);
    o->bias = xmalloc(sizeof *o->bias * (size_t)n);
    o->x = xmalloc(sizeof *o->x * (size_t)m * (size_t)ldx);
    o->y = xmalloc(sizeof *o->y * (size_t)m * (size_t)ldy);
    uint16_t *dense = xmalloc(sizeof *dense * (size_t)m * (size_t)k);
    for (int i = 0; i < n * k; i++)
        o->w[i] = uniform() * 0.05f;
    for (int i = 0; i < n; i++)
        o->bias[i] = dtype_from_float(o->p.dtype, uniform());
    memset(o->x, 0xff, sizeof *o->x * (size_t)m * (size_t)ldx); /* NaN in the gaps */
    memset(o->y, 0xff, sizeof *o->y * (size_t)m * (size_t)ldy);
    for (int row = 0; row < m; row++)
        for (int i = 0; i < k; i++)
            o->x[row * ldx + i] = dense[row * k + i] = dtype_from_float(o->p.dtype, uniform() * 3);
    take(quant_layer_init(&o->layer, &o->p, o->w, NULL));
    take(quant_acts_init(&o->acts, &o->p, dense));
    take(reference_init(&o->ref, &o->p, &o->layer, &o->acts, o->bias));
    free(dense);
}

static inline void operands_release(struct operands *o) {
    quant_layer_release(&o->layer);
    quant_acts_release(&o->acts);
    reference_release(&o->ref);
    free(o->w);
    free(o->x);
    free(o->bias);
    free(o->y);
}

/* Quantisation on the device gives what it gives on the host, bit for bit. */
static inline void activations_check(const struct operands *o, const struct mt_activations *x) {
    size_t codes = (size_t)o->p.m * (size_t)o->acts.k_padded, factors = (size_t)o->acts.groups * (size_t)o->p.m;
    int8_t *q = xmalloc(codes);
    float *scales = xmalloc(factors * sizeof *scales);
    int32_t *sums = xmalloc(factors * sizeof *sums);
    download(q, x->codes, codes);
    download(scales, x->scales, factors * sizeof *scales);
    download(sums, x->sums, factors * sizeof *sums);
    assert_memory_equal(q, o->acts.q, codes);
    assert_memory_equal(scales, o->acts.scales, factors * sizeof *scales);
    assert_memory_equal(sums, o->acts.sums, factors * sizeof *sums);
    free(q);
    free(scales);
    free(sums);
}

static inline void result_check(const struct operands *o, const char *what) {
    struct verdict verdict;
    int ldy = o->p.n + GAP;
    reference_compare(&o->ref, o->p.dtype, o->y, ldy, &verdict);
    if (verdict.wrong)
        fail_msg("%s, M %d: %ld elements are wrong, the first [%d][%d] is %g instead of %g", what, o->p.m,
                 verdict.wrong, verdict.first_m, verdict.first_n, verdict.got, verdict.want);
    for (int m = 0; m < o->p.m; m++)
        for (int n = o->p.n; n < ldy; n++)
            assert_int_equal(o->y[m * ldy + n], 0xffff);
}

/* Captures quantisation and GEMM in a graph and launches it. */
static inline void launch(const struct mt_table *table, const struct mt_layer *layer,
                          const struct mt_quantize_operands *quantize, const struct mt_gemm_operands *gemm) {
    CUstream stream;
    CUgraph graph;
    CUgraphExec ready;
    take(device_check(&dev, dev.drv.StreamCreate(&stream, CU_STREAM_NON_BLOCKING), "stream"));
    take(device_check(&dev, dev.drv.StreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL), "capture"));
    settled(mt_quantize_launch(table, layer, quantize, stream));
    settled(mt_gemm_launch(table, layer, gemm, stream));
    take(device_check(&dev, dev.drv.StreamEndCapture(stream, &graph), "capture"));
    take(device_check(&dev, dev.drv.GraphInstantiate(&ready, graph, 0), "graph"));
    take(device_check(&dev, dev.drv.GraphLaunch(ready, stream), "graph"));
    take(device_check(&dev, dev.drv.StreamSynchronize(stream), "graph"));
    dev.drv.GraphExecDestroy(ready);
    dev.drv.GraphDestroy(graph);
    dev.drv.StreamDestroy(stream);
}

/* `workspace` was zeroed once and is used by every layer in turn. */
static inline void run(struct mt_table *table, const struct mt_layer *layer, int m, CUdeviceptr workspace,
                       size_t bytes) {
    struct operands o;
    struct mt_packed *packed;
    struct mt_weights weights = {.size = sizeof weights};
    operands_init(&o, layer, m);
    settled(mt_table_load(table, layer));
    settled(mt_pack_float(layer, o.w, NULL, &packed));
    settled(mt_weights_upload(table, packed, &weights));
    mt_packed_free(packed);
    const int ldy = o.p.n + GAP, ldx = o.p.k + GAP;
    const size_t y_bytes = sizeof *o.y * (size_t)m * (size_t)ldy, codes = (size_t)m * (size_t)o.acts.k_padded,
                 factors = (size_t)m * (size_t)o.acts.groups;
    const struct mt_activations acts = {.size = sizeof acts, /* of the right size; written over */
                                        .codes = upload(o.acts.q, codes),
                                        .scales = upload(o.acts.scales, sizeof(float) * factors),
                                        .sums = upload(o.acts.sums, sizeof(int32_t) * factors)};
    dev.drv.MemsetD8(acts.codes, 0x55, codes);
    const struct mt_quantize_operands quantize = {.size = sizeof quantize,
                                                  .m = m,
                                                  .ldx = ldx,
                                                  .x = upload(o.x, sizeof *o.x * (size_t)m * (size_t)ldx),
                                                  .out = &acts};
    const struct mt_gemm_operands gemm = {.size = sizeof gemm,
                                          .m = m,
                                          .ldy = ldy,
                                          .weights = &weights,
                                          .x = &acts,
                                          .bias = upload(o.bias, sizeof *o.bias * (size_t)o.p.n),
                                          .y = upload(o.y, y_bytes),
                                          .workspace = workspace,
                                          .workspace_bytes = bytes,
                                          .flags = MT_PROGRAMMATIC};
    launch(table, layer, &quantize, &gemm);
    download(o.y, gemm.y, y_bytes);
    activations_check(&o, &acts);
    result_check(&o, layer->info.name);
    const CUdeviceptr memory[] = {gemm.bias, gemm.y, acts.codes, acts.scales, acts.sums, quantize.x};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
        dev.drv.MemFree(memory[i]);
    mt_weights_free(table, &weights);
    operands_release(&o);
}

static inline CUdeviceptr zeroed(size_t bytes) {
    CUdeviceptr workspace;
    take(device_check(&dev, dev.drv.MemAlloc(&workspace, bytes), "allocating"));
    take(device_check(&dev, dev.drv.MemsetD8(workspace, 0, bytes), "clearing"));
    return workspace;
}

#endif
