/* What only a real device can get wrong: the ways in which the project uses the driver and the CUDA libraries. These
 * run on one device alone; each says what it saw, or what failed. */
#include "compare.h"
#include "runtime/gpu/nvml.h"
#include "runtime/jit/fatbin.h"
#include "tuner/measure/baseline.h"
#include "tuner/measure/cublaslt.h"
#include "tuner/measure/gate.h"
#include "tuner/measure/proof.h"
#include "tuner/measure/timer.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The quantisation of some tokens: a kernel with arguments, short or long as m is. */
struct work {
    struct device *dev;
    struct kernel kernel;
    struct memory memory;
    struct mt_quantize_args args;
    uint16_t *x;
};

enum { WORK_K = 4096, WORK_GROUP = 128 };

static enum mt_status work_init(struct work *w, struct device *dev, int m) {
    const struct problem p = {.m = m, .n = 16, .k = WORK_K, .group = WORK_GROUP, .dtype = DTYPE_F16};
    const size_t elements = (size_t)m * WORK_K, groups = (size_t)m * (WORK_K / WORK_GROUP);
    CUdeviceptr x = 0, q = 0, scales = 0, sums = 0;
    enum mt_status status;
    *w = (struct work){.dev = dev, .x = xmalloc(elements * 2)};
    for (size_t i = 0; i < elements; i++)
        w->x[i] = (uint16_t)(0x3800 + i * 7 % 2048);
    if ((status = kernel_load_quantize(dev, &p, &w->kernel)) ||
        (status = memory_upload(&w->memory, dev, w->x, elements * 2, &x)) ||
        (status = memory_alloc(&w->memory, dev, elements, &q)) ||
        (status = memory_alloc(&w->memory, dev, groups * 4, &scales)) ||
        (status = memory_alloc(&w->memory, dev, groups * 4, &sums)))
        return status;
    w->args = (struct mt_quantize_args){.x = memory_pointer(x),
                                        .q = memory_pointer(q),
                                        .scales = memory_pointer(scales),
                                        .sums = memory_pointer(sums),
                                        .m = m,
                                        .k = WORK_K,
                                        .k_padded = WORK_K,
                                        .groups = WORK_K / WORK_GROUP,
                                        .ldx = WORK_K};
    return MT_OK;
}

static void work_release(struct work *w) {
    memory_release(&w->memory, w->dev);
    kernel_unload(w->dev, &w->kernel);
    free(w->x);
}

static enum mt_status work_launch(void *context, int turn, CUstream stream) {
    struct work *w = context;
    (void)turn;
    return launch_quantize(w->dev, &w->kernel, &w->args, stream);
}

static enum mt_status work_compile(const struct gpu_case *c, const struct device *dev, struct image *out) {
    const struct problem p = {.m = 1, .n = 16, .k = WORK_K, .group = WORK_GROUP, .dtype = DTYPE_F16};
    (void)c;
    return kernel_compile_quantize(dev, &p, out);
}

/* ---- loading ---- */

/* variant 0: the fat binary, as all kernels are loaded; 1: the machine code in it alone. Where nothing loads this tells
 * whether it is the file around the code or the code. */
static void load_run(const struct gpu_case *c, struct device *dev, struct answer *out) {
    struct image image;
    CUmodule module = NULL;
    CUfunction function;
    if (c->variant && dev->software) {
        answer_skip(out, "a software device runs the PTX, which a cubin lacks");
        return;
    }
    if (answer_status(out, dev, work_compile(c, dev, &image), ""))
        return;
    size_t size = image.size;
    const void *data = c->variant ? fatbin_cubin(image.data, image.size, &size) : image.data;
    if (!data)
        answer_fail(out, "the fat binary of %zu bytes holds no cubin", image.size);
    else if (!answer_status(out, dev, device_check(dev, dev->drv.ModuleLoadData(&module, data), "cuModuleLoadData"),
                            "") &&
             !answer_status(out, dev,
                            device_check(dev, dev->drv.ModuleGetFunction(&function, module, "quantize_act"),
                                         "cuModuleGetFunction"),
                            ""))
        snprintf(out->note, sizeof out->note, "%zu bytes", size);
    if (module)
        dev->drv.ModuleUnload(module);
    image_release(&image);
}

/* ---- streams, graphs, the gate ---- */

/* A launch that is captured, instantiated and launched as a graph does what it does outside one. */
static enum mt_status graph_launch(struct device *dev, struct work *w, struct answer *out) {
    const struct driver *drv = &dev->drv;
    CUstream stream = NULL;
    CUgraph graph = NULL;
    CUgraphExec exec = NULL;
    int sum = -1;
    enum mt_status status;
    if ((status = device_check(dev, drv->StreamCreate(&stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate")) ||
        (status = device_check(dev, drv->MemsetD8((CUdeviceptr)(uintptr_t)w->args.sums, 0xff, 4), "cuMemsetD8")) ||
        (status = device_check(dev, drv->StreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL),
                               "cuStreamBeginCapture")))
        goto out;
    for (int i = 0; i < 20 && !status; i++)
        status = work_launch(w, 0, stream);
    const CUresult ended = drv->StreamEndCapture(stream, &graph);
    if (status || (status = device_check(dev, ended, "cuStreamEndCapture")) ||
        (status = device_check(dev, drv->GraphInstantiate(&exec, graph, 0), "cuGraphInstantiateWithFlags")) ||
        (status = device_check(dev, drv->GraphLaunch(exec, stream), "cuGraphLaunch")) ||
        (status = device_check(dev, drv->StreamSynchronize(stream), "cuStreamSynchronize")) ||
        (status = device_check(dev, drv->MemcpyDtoH(&sum, (CUdeviceptr)(uintptr_t)w->args.sums, 4), "cuMemcpyDtoH")))
        goto out;
    if (sum == -1)
        answer_fail(out, "the graph was launched, but its kernels did not run");
out:
    if (exec)
        drv->GraphExecDestroy(exec);
    if (graph)
        drv->GraphDestroy(graph);
    if (stream)
        drv->StreamDestroy(stream);
    return status;
}

static void graph_run(const struct gpu_case *c, struct device *dev, struct answer *out) {
    struct work w;
    (void)c;
    if (!answer_status(out, dev, work_init(&w, dev, 16), ""))
        answer_status(out, dev, graph_launch(dev, &w, out), "");
    work_release(&w);
}

/* What is queued behind the gate must not have run while it is shut; an event tells. */
static enum mt_status gate_hold(struct device *dev, struct gate *gate, struct work *w, struct answer *out) {
    const struct driver *drv = &dev->drv;
    CUstream stream = NULL;
    CUevent before = NULL, after = NULL;
    float ms = 0;
    enum mt_status status;
    if ((status = device_check(dev, drv->StreamCreate(&stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate")) ||
        (status = device_check(dev, drv->EventCreate(&before, 0), "cuEventCreate")) ||
        (status = device_check(dev, drv->EventCreate(&after, 0), "cuEventCreate")) ||
        (status = device_check(dev, drv->EventRecord(before, stream), "cuEventRecord")) ||
        (status = gate_shut(gate, stream)))
        goto out;
    usleep(5000);
    for (int i = 0; i < 4 && !status; i++)
        status = work_launch(w, 0, stream);
    if (!status)
        status = gate_stamp(gate, stream);
    gate_lift(gate);
    if (status || (status = device_check(dev, drv->EventRecord(after, stream), "cuEventRecord")) ||
        (status = device_check(dev, drv->StreamSynchronize(stream), "cuStreamSynchronize")) ||
        (status = device_check(dev, drv->EventElapsedTime(&ms, before, after), "cuEventElapsedTime")))
        goto out;
    const double clock = gate_clock(gate);
    snprintf(out->note, sizeof out->note, "held for %.1f ms, SM clock at %.0f %% of the highest", (double)ms,
             clock * 100);
    if (!gate_held(gate))
        answer_fail(out, "the gate opened by itself: the device does not see what the host writes");
    else if (!dev->software && ms < 4)
        answer_fail(out, "the stream was held for %.2f ms only, not 5", (double)ms);
    else if (!dev->software && (clock < 0.05 || clock > 1.2))
        answer_fail(out, "the SM clock is %.0f %% of the highest: the stamps cannot be believed", clock * 100);
out:
    if (after)
        drv->EventDestroy(after);
    if (before)
        drv->EventDestroy(before);
    if (stream)
        drv->StreamDestroy(stream);
    return status;
}

static void gate_run(const struct gpu_case *c, struct device *dev, struct answer *out) {
    struct work w;
    struct gate *gate = NULL;
    (void)c;
    if (!answer_status(out, dev, work_init(&w, dev, 4096), "") && !answer_status(out, dev, gate_open(dev, &gate), ""))
        answer_status(out, dev, gate_hold(dev, gate, &w, out), "");
    gate_close(gate);
    work_release(&w);
}

/* ---- the timer ---- */

/* variant 0: short kernels, as a graph; 1: long ones, singly behind the gate. */
static void timer_run(const struct gpu_case *c, struct device *dev, struct answer *out) {
    struct work w;
    struct gate *gate = NULL;
    struct timing timing = {0};
    struct timer_job job = {.launch = work_launch, .context = &w, .rotation = 1, .limits = &timer_limits_quick};
    if (answer_status(out, dev, work_init(&w, dev, c->variant ? 16384 : 4), "") ||
        (!dev->software && answer_status(out, dev, gate_open(dev, &gate), "")))
        goto out;
    job.gate = gate;
    if (answer_status(out, dev, timer_measure(dev, &job, &timing), ""))
        goto out;
    snprintf(out->note, sizeof out->note, "%.2f us, %.2f to %.2f, %d samples of %d launches, %d rejected",
             timing.estimate.median / 1e3, timing.estimate.low / 1e3, timing.estimate.high / 1e3, timing.count,
             timing.launches_per_sample, timing.rejected.samples);
    if (c->variant ? timing.launches_per_sample != 1 : timing.launches_per_sample < 20)
        answer_fail(out, "%d launches a sample at %.2f us: that is the wrong form", timing.launches_per_sample,
                    timing.estimate.median / 1e3);
out:
    timing_release(&timing);
    gate_close(gate);
    work_release(&w);
}

/* ---- libraries ---- */

static void nvml_run(const struct gpu_case *c, struct device *dev, struct answer *out) {
    static const char *const wanted[] = {"\"driver\"",        "\"sm_mhz\"",        "\"memory_mhz\"", "\"sm_max_mhz\"",
                                         "\"power_limit_w\"", "\"temperature_c\"", "\"throttle\""};
    struct str text = {0};
    (void)c;
    if (dev->software) {
        answer_skip(out, "a software device has no clocks");
        return;
    }
    nvml_describe(dev->uuid, &text);
    snprintf(out->note, sizeof out->note, "%s, %d compute processes", str_text(&text),
             nvml_compute_processes(dev->uuid));
    if (!text.length)
        answer_fail(out, "libnvidia-ml.so.1 cannot be opened, or knows no GPU %s", dev->uuid);
    for (size_t i = 0; text.length && i < sizeof wanted / sizeof *wanted; i++)
        if (!strstr(text.data, wanted[i]))
            answer_fail(out, "NVML does not tell %s: %s", wanted[i], text.data);
    str_release(&text);
}

enum { LIBRARY_CUBLAS_CASE, LIBRARY_LT_CASE };

static enum mt_status library_gemm(int which, struct device *dev, const struct proof *proof, struct answer *out) {
    struct cublas *cublas = NULL;
    struct cublaslt *lt = NULL;
    struct lt_plan *plan = NULL;
    enum mt_status status;
    if (which == LIBRARY_CUBLAS_CASE) {
        if (!(status = cublas_open(dev, &cublas)))
            status = cublas_gemm(cublas, &proof->f16, proof->problem.dtype, NULL);
        snprintf(out->note, sizeof out->note, "cuBLAS %s", cublas_version(cublas));
    } else {
        if (!(status = cublaslt_open(dev, &lt)) &&
            !(status = lt_plan_open(lt, &proof->f16, proof->problem.dtype, LT_MAX_ALGORITHMS, &plan)))
            status = lt_plan_gemm(plan, 0, &proof->f16, NULL);
        snprintf(out->note, sizeof out->note, "%d algorithms proposed", plan ? lt_plan_count(plan) : 0);
    }
    if (!status)
        status = device_check(dev, dev->drv.CtxSynchronize(), "running the GEMM");
    lt_plan_close(plan);
    cublaslt_close(lt);
    cublas_close(cublas);
    return status;
}

static enum mt_status library_compare(int which, struct device *dev, struct proof *proof, struct answer *out) {
    const struct problem *p = &proof->problem;
    const size_t bytes = (size_t)p->m * (size_t)p->n * 2;
    struct verdict verdict;
    CUdeviceptr y;
    uint16_t *got = xcalloc(bytes, 1);
    enum mt_status status = memory_alloc(&proof->memory, dev, bytes, &y);
    if (status)
        goto out;
    proof->f16.y = memory_pointer(y);
    proof->f16.ldy = p->n;
    if ((status = library_gemm(which, dev, proof, out)) ||
        (status = device_check(dev, dev->drv.MemcpyDtoH(got, y, bytes), "cuMemcpyDtoH")))
        goto out;
    reference_compare(&proof->reference, p->dtype, got, p->n, &verdict);
    if (verdict.wrong)
        answer_fail(out, "%ld elements are wrong; Y[%d, %d] is %.9g, not %.9g", verdict.wrong, verdict.first_m,
                    verdict.first_n, verdict.got, verdict.want);
out:
    free(got);
    return status;
}

static void library_run(const struct gpu_case *c, struct device *dev, struct answer *out) {
    const struct problem p = {.m = 48, .n = 256, .k = 512, .group = 128, .dtype = c->number ? DTYPE_BF16 : DTYPE_F16};
    struct proof proof;
    if (dev->software) {
        answer_skip(out, "a software device runs no CUDA library");
        return;
    }
    if (!answer_status(out, dev, proof_init(&proof, dev, &p, false, 5), ""))
        answer_status(out, dev, library_compare(c->variant, dev, &proof, out), "");
    proof_release(&proof);
}

void smoke_cases(struct case_list *list) {
    struct gpu_case c = {.judge = JUDGE_NONE};
    c.run = load_run, c.compile = work_compile;
    case_add(list, &c, "a kernel loads as fat binary");
    c.variant = 1;
    case_add(list, &c, "a kernel loads as raw cubin");
    c.variant = 0;
    c.run = graph_run;
    case_add(list, &c, "a CUDA graph is captured, instantiated and launched");
    c.run = gate_run;
    case_add(list, &c, "the gate holds a stream, and the stamps tell the clock");
    c.run = timer_run;
    case_add(list, &c, "the timer takes a graph of short launches");
    c.variant = 1;
    case_add(list, &c, "the timer takes single long launches");
    c.run = nvml_run, c.compile = NULL;
    case_add(list, &c, "NVML tells the clocks, limits and temperature");
    c.run = library_run;
    for (c.variant = LIBRARY_CUBLAS_CASE; c.variant <= LIBRARY_LT_CASE; c.variant++)
        for (c.number = 0; c.number < 2; c.number++)
            case_add(list, &c, "%s, %s, against the exact product", c.variant ? "cuBLASLt" : "cuBLAS",
                     c.number ? "bf16" : "fp16");
}
