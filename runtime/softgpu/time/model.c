#include "model.h"
#include <math.h>

static const char *const names[] = {"issue",  "alu",    "fma",    "half", "xu", "lsu",  "fp64",
                                    "branch", "tensor", "shared", "port", "l2", "dram", "latency"};

_Static_assert(sizeof names / sizeof *names == MODEL_TERMS, "every term has its name, in the order of the enum");

const char *model_term_name(enum model_term term) {
    return names[term];
}

static double larger(double a, double b) {
    return a > b ? a : b;
}

/* Terms of the busiest SM's pipes, in clocks for one CTA. */
static void pipe_clocks(const struct dev_profile *d, const struct model_kernel *k, double per_cta, double *clocks) {
    const struct sg_counters *c = k->counters;
    const uint64_t *n = c->machine_pipe, multiplied = n[SG_PIPE_FMA] + n[SG_PIPE_IMAD];
    const double warp = 32 * per_cta, imad = (double)n[SG_PIPE_IMAD] / d->imad_lanes;
    clocks[MODEL_ALU] = warp * (double)n[SG_PIPE_ALU] / d->alu_lanes;
    clocks[MODEL_FMA] = warp * larger((double)multiplied / d->fma_lanes, imad);
    clocks[MODEL_HALF] = warp * (double)n[SG_PIPE_HALF] / d->half_lanes;
    clocks[MODEL_XU] = warp * (double)n[SG_PIPE_XU] / d->xu_lanes;
    clocks[MODEL_LSU] = warp * (double)n[SG_PIPE_LSU] / d->lsu_lanes;
    clocks[MODEL_FP64] = warp * (double)n[SG_PIPE_FP64] / d->fp64_lanes;
    clocks[MODEL_BRANCH] = warp * (double)n[SG_PIPE_BRANCH] / d->branch_lanes;
    double macs = (double)c->mma_ops_int8 / d->tensor_int8_macs + (double)c->mma_ops_f16 / d->tensor_f16_macs +
                  (double)c->mma_ops_other / d->tensor_other_macs;
    clocks[MODEL_TENSOR] = macs * per_cta / (k->wgmma ? 1.0 : d->mma_sync_fraction);
    clocks[MODEL_ISSUE] = (double)c->machine_instructions * per_cta / d->schedulers_per_sm;
    clocks[MODEL_SHARED] = (double)c->shared_wavefronts * per_cta;
    clocks[MODEL_PORT] = 32.0 * (double)c->global_sectors * per_cta / d->sm_l2_bytes_per_clock;
}

/* Bytes that memory moves for so much traffic of the CTAs, `resident` of them at a time. */
static double memory_bytes(const struct dev_profile *d, const struct model_kernel *k, double traffic, double resident) {
    if ((double)k->footprint <= d->l2_kib * 1024.0)
        return (double)k->distinct;
    return larger((double)k->distinct, traffic / sqrt(resident));
}

/* Clocks that one CTA cannot be faster than, however idle the SM is. */
static double cta_latency(const struct dev_profile *d, const struct model_kernel *k, double per_cta, double latency) {
    const struct sg_counters *c = k->counters;
    double read = (double)c->global_bytes_read, asynchronous = (double)c->async_bytes;
    double plain = read > 0 ? (read - asynchronous) / read : 0;
    unsigned warps = (k->threads + 31) / 32;
    double loads = (double)c->global_requests * per_cta / warps * plain;
    double chain = (double)c->max_warp_instructions * d->warp_interval_clocks + loads / d->loads_in_flight * latency;
    double stream = c->max_inflight_bytes ? asynchronous * per_cta / (double)c->max_inflight_bytes * latency : 0;
    return larger(chain, stream);
}

/* What side by side takes, between the largest of them (exponent large) and their sum (1). */
static double norm(const double *terms, unsigned count, double exponent) {
    double largest = 0, sum = 0;
    for (unsigned i = 0; i < count; i++)
        largest = larger(largest, terms[i]);
    for (unsigned i = 0; i < count && largest > 0; i++)
        sum += pow(terms[i] / largest, exponent);
    return largest > 0 ? largest * pow(sum, 1 / exponent) : 0;
}

/* Of the issue slots only the largest is a term, and so of the ways to L2. */
static double overlapped(const struct dev_profile *d, const struct model_kernel *k, const double *t) {
    double slots = t[MODEL_ISSUE];
    for (int i = MODEL_ALU; i <= MODEL_BRANCH; i++)
        slots = larger(slots, t[i]);
    const double work[] = {slots, t[MODEL_TENSOR]};
    const double all[] = {norm(work, 2, k->wgmma ? d->overlap_exponent : d->mma_overlap_exponent), t[MODEL_SHARED],
                          larger(t[MODEL_PORT], t[MODEL_L2]), t[MODEL_DRAM], t[MODEL_LATENCY]};
    return norm(all, sizeof all / sizeof *all, d->overlap_exponent);
}

void model_kernel_time(const struct dev_profile *device, const struct model_kernel *kernel, struct model_time *out) {
    const struct sg_counters *c = kernel->counters;
    double hertz = device->clock_mhz * 1e6, per_cta = 1.0 / (double)kernel->counted;
    double ctas = (double)kernel->ctas, slots = (double)device->sm_count * kernel->ctas_per_sm;
    double busiest = ceil(ctas / device->sm_count), resident = ctas < slots ? ctas : slots;
    double *t = out->term;

    pipe_clocks(device, kernel, per_cta, t);
    for (int i = 0; i < MODEL_L2; i++)
        t[i] *= busiest / hertz;
    t[MODEL_L2] = 32.0 * (double)c->global_sectors * per_cta * ctas / device->l2_bytes_per_clock / hertz;

    double reads = (double)c->global_bytes_read * per_cta * ctas;
    double writes = (double)c->global_bytes_written * per_cta * ctas;
    double traffic = reads + writes, bytes = memory_bytes(device, kernel, traffic, resident);
    t[MODEL_DRAM] = bytes / (device->memory_gbs * 1e9 * device->memory_efficiency);

    double near = device->l2_latency_clocks, far = device->memory_latency_ns * 1e-9 * hertz;
    double latency = near + (traffic > 0 ? bytes / traffic : 0) * larger(far - near, 0);
    t[MODEL_LATENCY] = ceil(ctas / slots) * cta_latency(device, kernel, per_cta, latency) / hertz;

    out->limit = MODEL_ISSUE;
    for (int i = 1; i < MODEL_TERMS; i++)
        if (t[i] > t[out->limit])
            out->limit = (enum model_term)i;
    out->seconds = device->memory_latency_ns * 1e-9 + overlapped(device, kernel, t) +
                   ceil(ctas / slots) * (double)c->atomics * per_cta * device->atomic_us * 1e-6 +
                   (kernel->wgmma ? device->wgmma_setup_us * 1e-6 : 0);
}

double model_copy_seconds(const struct dev_profile *device, enum model_copy kind, uint64_t bytes) {
    double rate = device->host_link_gbs;
    if (kind != MODEL_COPY_HOST) /* a copy on the device reads and writes */
        rate = device->memory_gbs * device->memory_efficiency / (kind == MODEL_COPY_DEVICE ? 2 : 1);
    return device->launch_us * 1e-6 + (double)bytes / (rate * 1e9);
}
