#include "probe.h"
#include "memory.h"
#include "runtime/base/log.h"
#include "runtime/base/str.h"
#include "runtime/jit/compile.h"
#include "runtime/layer/half.h"
#include "timer.h"
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* As templates/probe.cu has them. */
enum { THREADS = 256, CHAINS = 8, INSTRUCTIONS = 256, PRODUCTS = 64, SHARED_PASSES = 8, LINKS_A_ROUND = 16 };
enum { BULK_PIECE = 16384, BULK_SHARED = 4 * BULK_PIECE };

enum { MIB = 1 << 20, LINE = 128, CHECK_BYTES = MIB, CHECK_ROUNDS = 3, CHECK_GRID = 5, SEED = 20241113 };
/* Of the buffers, in sizes of the L2 cache. */
enum { DRAM_MULTIPLE = 12, LINKS_MULTIPLE = 3, L2_SHARE = 4 };

static const struct timer_limits precise = {30, 0.005, 2};

struct prober {
    struct device *dev;
    CUmodule module[2]; /* by whether it holds the kernels of wgmma; NULL: not loaded yet */
    struct gate *gate;  /* NULL: none */
    struct memory memory;
    CUdeviceptr out;    /* of checks: a word for each thread of a small grid */
    CUdeviceptr buffer; /* far beyond the L2 cache, with random numbers; 0: not made yet */
    size_t buffer_bytes;
    double highest_hz;
    struct limits *found;
};

/* ---- one kernel, launched again and again ---- */

enum { MAX_PARAMS = 4 };
struct work {
    struct prober *p;
    CUfunction function;
    unsigned grid, threads, shared;
    int launches; /* a turn */
    int rotation; /* turns until the inputs come again */
    void *param[MAX_PARAMS];
    void (*turn)(struct work *w, int turn); /* sets what differs; NULL: nothing */
    /* what the parameters point at */
    CUdeviceptr out, in;
    int rounds;
    uint32_t seed, first;
    long long count; /* of 16 bytes */
    /* what turns choose from */
    CUdeviceptr base;
    uint32_t *start;
};

static enum mt_status check(const struct prober *p, CUresult result, const char *what) {
    return device_check(p->dev, result, what);
}

static enum mt_status work_launch(void *context, int turn, CUstream stream) {
    struct work *w = context;
    enum mt_status status = MT_OK;
    if (w->turn)
        w->turn(w, turn);
    for (int i = 0; i < w->launches && !status; i++)
        status = check(w->p,
                       w->p->dev->drv.LaunchKernel(w->function, w->grid, 1, 1, w->threads, 1, 1, w->shared, stream,
                                                   w->param, NULL),
                       "cuLaunchKernel");
    return status;
}

static enum mt_status compile(const struct device *dev, bool wgmma, struct image *out) {
    char arch[16];
    const char *const options[] = {wgmma ? "-DWGMMA=1" : "-DWGMMA=0"};
    device_arch(dev, arch);
    const struct compile_request request = {"probe.cu", options, 1, arch};
    return compile_kernel(&request, out);
}

static enum mt_status need_module(struct prober *p, bool wgmma) {
    struct image image;
    if (p->module[wgmma])
        return MT_OK;
    enum mt_status status = compile(p->dev, wgmma, &image);
    if (status)
        return status;
    CUresult result = p->dev->drv.ModuleLoadData(&p->module[wgmma], image.data);
    image_release(&image);
    return check(p, result, "the kernels of the probe cannot be loaded");
}

/* `shared` bytes of dynamic shared memory; as many CTAs as the device holds at a time. */
static enum mt_status work_init(struct work *w, struct prober *p, const char *kernel, unsigned shared) {
    const struct driver *drv = &p->dev->drv;
    const bool wgmma = strstr(kernel, "wgmma") != NULL;
    int ctas = 0;
    *w = (struct work){.p = p, .threads = THREADS, .shared = shared, .launches = 1, .rotation = 1, .out = p->out};
    enum mt_status status = need_module(p, wgmma);
    if (!status)
        status = check(p, drv->ModuleGetFunction(&w->function, p->module[wgmma], kernel), kernel);
    if (!status && shared > 48 * 1024)
        status =
            check(p, drv->FuncSetAttribute(w->function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, (int)shared),
                  "cuFuncSetAttribute");
    if (!status)
        status = check(p, drv->OccupancyMaxActiveBlocksPerMultiprocessor(&ctas, w->function, THREADS, shared), kernel);
    w->grid = (unsigned)(ctas * p->dev->sm_count);
    return status;
}

/* Nanoseconds of one launch. Its output goes where nobody looks: a software device then only estimates it. */
static enum mt_status work_time(struct work *w, double *ns) {
    struct memory unread = {0};
    const CUdeviceptr seen = w->out;
    const struct timer_job job = {
        .launch = work_launch, .context = w, .rotation = w->rotation, .gate = w->p->gate, .limits = &precise};
    struct timing timing = {0};
    enum mt_status status = memory_alloc(&unread, w->p->dev, (size_t)w->grid * THREADS * 4, &w->out);
    if (!status)
        status = timer_measure(w->p->dev, &job, &timing);
    if (!status)
        *ns = timing.estimate.median / w->launches;
    timing_release(&timing);
    memory_release(&unread, w->p->dev);
    w->out = seen;
    return status;
}

/* Nanoseconds that `rounds` rounds take: of three times as many, without as many, over two. */
static enum mt_status work_time_rounds(struct work *w, int rounds, double *ns) {
    double brief, lengthy = 0;
    w->rounds = rounds;
    enum mt_status status = work_time(w, &brief);
    w->rounds = 3 * rounds;
    if (!status)
        status = work_time(w, &lengthy);
    if (!status && !(lengthy > brief))
        status = fail(MT_FAILURE, "three times the work takes no longer: %.0f ns after %.0f ns", lengthy, brief);
    *ns = (lengthy - brief) / 2;
    return status;
}

/* The clock of the samples taken last. */
static double clock_hz(const struct prober *p) {
    return p->highest_hz * (p->gate ? gate_clock(p->gate) : 1);
}

/* Runs one launch and reads `words` words of what it wrote to `from`. */
static enum mt_status work_run(struct work *w, CUdeviceptr from, size_t words, uint32_t **out) {
    const struct driver *drv = &w->p->dev->drv;
    *out = xcalloc(words, sizeof **out);
    enum mt_status status = work_launch(w, 0, NULL);
    if (!status)
        status = check(w->p, drv->CtxSynchronize(), "the probe's kernel");
    if (!status)
        status = check(w->p, drv->MemcpyDtoH(*out, from, words * sizeof **out), "cuMemcpyDtoH");
    if (status) {
        free(*out);
        *out = NULL;
    }
    return status;
}

static enum mt_status not_done(const char *kernel, uint32_t got, uint32_t want) {
    return fail(MT_WRONG, "%s gives %u and not %u: it does not do the work that it would be timed for", kernel, got,
                want);
}

static void add_limit(struct prober *p, const char *name, const char *unit, double value) {
    p->found->item[p->found->count++] = (struct limit){name, unit, value};
}

/* ---- loops over single instructions, shared memory and the tensor core ---- */

struct rate {
    const char *name, *unit, *kernel;
    bool wgmma;
    double work;    /* of one CTA in a round: lanes, bytes or operations */
    int rounds;     /* of the short launch */
    bool per_clock; /* and SM; else in 1e12 a second */
    /* What thread `t` has to write after `rounds` rounds with `seed`. */
    uint32_t (*expect)(const struct rate *rate, int rounds, uint32_t seed, uint32_t t);
    uint32_t check_seed; /* 0: the operands are one known number */
};

static uint32_t mix(uint32_t x) {
    x ^= x >> 16, x *= 0x7feb352du;
    x ^= x >> 15, x *= 0x846ca68bu;
    return x ^ x >> 16;
}

/* The kernels' own arithmetic; fmaf() and the conversion round as the device does. */
static uint32_t next(const char *kernel, uint32_t a, uint32_t b, uint32_t c) {
    switch (kernel[sizeof "probe_" - 1]) {
    case 'f':
        return bits_of_float(fmaf(float_of_bits(a), float_of_bits(a), float_of_bits(b)));
    case 'a':
        return a + b;
    case 'm':
        return a * b + c;
    case 'l':
        return a ^ (b | c);
    default:
        return bits_of_float((float)(int32_t)a);
    }
}

static uint32_t expect_chains(const struct rate *rate, int rounds, uint32_t seed, uint32_t t) {
    uint32_t x[CHAINS], all = 0;
    for (uint32_t j = 0; j < CHAINS; j++)
        x[j] = mix(seed + t) + j;
    for (int i = 0; i < rounds * INSTRUCTIONS; i++) {
        const int j = i % CHAINS;
        x[j] = next(rate->kernel, x[j], x[(j + 1) % CHAINS], x[(j + 3) % CHAINS]);
    }
    for (int j = 0; j < CHAINS; j++)
        all ^= x[j];
    return all;
}

static uint32_t expect_shared(const struct rate *rate, int rounds, uint32_t seed, uint32_t t) {
    const bool quad = !strcmp(rate->kernel, "probe_shared_quad");
    uint32_t all = 0, at = t % (quad ? 4 : THREADS) * 4; /* words */
    for (int r = 0; r < rounds; r++, at = (at + 128) % (THREADS * 4))
        for (uint32_t i = 0; i < SHARED_PASSES; i++) {
            uint32_t word = at + i * (THREADS * 4), sum = 0;
            for (uint32_t j = 0; j < 4; j++)
                sum ^= mix(seed + word + j);
            all += sum;
        }
    return all;
}

/* With ones for operands every accumulator counts its multiply-accumulates: a thread's share of all of them. */
static uint32_t expect_ones(const struct rate *rate, int rounds, uint32_t seed, uint32_t t) {
    (void)seed, (void)t;
    return (uint32_t)(rate->work / 2 / THREADS * rounds);
}

#define LANES_OF(NAME, KERNEL)                                                                                         \
    { NAME, "lanes/clock/SM", KERNEL, false, (double)THREADS *INSTRUCTIONS, 40, true, expect_chains, SEED }
#define WGMMA_OF(N, ROUNDS)                                                                                            \
    {                                                                                                                  \
        "int8_wgmma_n" #N, "TOPS", "probe_wgmma_n" #N, true, 2.0 * THREADS / 128 * PRODUCTS * 64 * (N)*32, ROUNDS,     \
            false, expect_ones, 0                                                                                      \
    }
static const struct rate rates[] = {
    {"int8_mma", "TOPS", "probe_mma_s8", false, 2.0 * THREADS / 32 * PRODUCTS * 16 * 8 * 32, 24, false, expect_ones, 0},
    WGMMA_OF(8, 32),
    WGMMA_OF(32, 16),
    WGMMA_OF(64, 8),
    WGMMA_OF(128, 6),
    WGMMA_OF(256, 4),
    {"f16_mma", "TFLOPS", "probe_mma_f16", false, 2.0 * THREADS / 32 * PRODUCTS * 16 * 8 * 16, 24, false, expect_ones,
     0},
    LANES_OF("fma", "probe_fma"),
    LANES_OF("add", "probe_add"),
    LANES_OF("mad", "probe_mad"),
    LANES_OF("lop3", "probe_lop3"),
    LANES_OF("convert", "probe_convert"),
    {"shared_read", "bytes/clock/SM", "probe_shared", false, 16.0 * THREADS *SHARED_PASSES, 400, true, expect_shared,
     SEED},
    {"shared_quad", "bytes/clock/SM", "probe_shared_quad", false, 16.0 * THREADS *SHARED_PASSES, 400, true,
     expect_shared, SEED},
};

/* Every CTA does its work, not only the first. */
static enum mt_status check_rate(struct work *w, const struct rate *rate) {
    enum { CTAS = 2 };
    unsigned grid = w->grid;
    uint32_t *got;
    w->grid = CTAS;
    w->rounds = CHECK_ROUNDS;
    w->seed = rate->check_seed;
    enum mt_status status = work_run(w, w->out, (size_t)CTAS * THREADS, &got);
    for (uint32_t t = 0; t < CTAS * THREADS && !status; t++) {
        uint32_t want = rate->expect(rate, CHECK_ROUNDS, w->seed, t);
        if (got[t] != want)
            status = not_done(rate->kernel, got[t], want);
    }
    free(got);
    w->grid = grid;
    w->seed = SEED;
    return status;
}

static enum mt_status probe_rate(struct prober *p, const struct rate *rate) {
    struct work w;
    double ns;
    enum mt_status status = work_init(&w, p, rate->kernel, 0);
    w.param[0] = &w.out, w.param[1] = &w.rounds, w.param[2] = &w.seed;
    if (status || (status = check_rate(&w, rate)) || (status = work_time_rounds(&w, rate->rounds, &ns)))
        return status;
    double per_ns = rate->work * rate->rounds * w.grid / ns;
    add_limit(p, rate->name, rate->unit,
              rate->per_clock ? per_ns * 1e9 / clock_hz(p) / p->dev->sm_count : per_ns * 1e-3);
    if (!strcmp(rate->name, "fma"))
        add_limit(p, "clock", "MHz", clock_hz(p) / 1e6);
    return MT_OK;
}

/* ---- streams through memory ---- */

/* Each turn reads the next part of the buffer. */
static void turn_part(struct work *w, int turn) {
    w->in = w->base + (CUdeviceptr)turn * (CUdeviceptr)w->count * 16;
}

static enum mt_status stream_init(struct work *w, struct prober *p, const char *kernel, unsigned shared) {
    enum mt_status status = work_init(w, p, kernel, shared);
    w->param[0] = &w->out, w->param[1] = &w->rounds, w->param[2] = &w->in, w->param[3] = &w->count;
    w->rounds = 1;
    return status;
}

/* The threads together sum up every 16 bytes once a round. */
static enum mt_status check_stream(struct work *w, const char *kernel) {
    const size_t words = CHECK_BYTES / 4;
    uint32_t *data = xcalloc(words, sizeof *data), *got = NULL, want = 0, sum = 0;
    struct memory memory = {0};
    unsigned grid = w->grid;
    for (size_t i = 0; i < words; i++)
        data[i] = mix((uint32_t)i);
    for (size_t i = 0; i < words; i += 4)
        want += data[i] ^ data[i + 1] ^ data[i + 2] ^ data[i + 3];
    w->grid = CHECK_GRID;
    w->rounds = 2;
    w->count = CHECK_BYTES / 16;
    enum mt_status status = memory_upload(&memory, w->p->dev, data, CHECK_BYTES, &w->in);
    if (!status)
        status = work_run(w, w->out, (size_t)w->grid * THREADS, &got);
    for (size_t t = 0; t < (size_t)w->grid * THREADS && !status; t++)
        sum += got[t];
    if (!status && sum != 2 * want)
        status = not_done(kernel, sum, 2 * want);
    memory_release(&memory, w->p->dev);
    w->grid = grid;
    w->rounds = 1;
    free(data);
    free(got);
    return status;
}

/* Without a kernel: one that hangs is to spoil its own limit alone. */
static enum mt_status need_buffer(struct prober *p) {
    const struct driver *drv = &p->dev->drv;
    const size_t wanted = (size_t)p->dev->l2_bytes * DRAM_MULTIPLE, quarter = p->dev->memory_bytes / 4;
    const size_t bytes = (wanted < quarter ? wanted : quarter) / MIB * MIB;
    CUdeviceptr buffer;
    if (p->buffer)
        return MT_OK;
    enum mt_status status = memory_alloc(&p->memory, p->dev, bytes, &buffer);
    if (status)
        return status;
    uint32_t *random = xmalloc(MIB);
    for (uint32_t i = 0; i < MIB / sizeof *random; i++)
        random[i] = mix(i);
    status = check(p, drv->MemcpyHtoD(buffer, random, MIB), "cuMemcpyHtoD");
    for (size_t done = MIB, more; done < bytes && !status; done += more) {
        more = done < bytes - done ? done : bytes - done;
        status = check(p, drv->MemcpyDtoD(buffer + done, buffer, more), "cuMemcpyDtoD");
    }
    free(random);
    p->buffer = status ? 0 : buffer;
    p->buffer_bytes = bytes;
    return status;
}

/* The best of thirds, halves and the whole of the buffer; between two reads of a byte comes all the rest of it. */
static enum mt_status probe_read(struct prober *p, const char *name, const char *kernel, unsigned shared) {
    struct work w;
    double best = 0;
    enum mt_status status = stream_init(&w, p, kernel, shared);
    if (!status && !(status = check_stream(&w, kernel)))
        status = need_buffer(p);
    const size_t bytes = p->buffer_bytes;
    w.base = p->buffer;
    w.turn = turn_part;
    for (int parts = 1; parts <= 3 && !status; parts++) {
        double ns = 0;
        size_t part = bytes / (size_t)parts / MIB * MIB;
        w.count = (long long)(part / 16);
        w.rotation = parts;
        status = work_time(&w, &ns);
        if (!status && (double)part / ns > best)
            best = (double)part / ns;
    }
    if (!status)
        add_limit(p, name, "GB/s", best);
    return status;
}

static enum mt_status check_store(struct work *w) {
    struct memory memory = {0};
    uint32_t *got = NULL;
    enum mt_status status = memory_alloc(&memory, w->p->dev, CHECK_BYTES, &w->in);
    w->count = CHECK_BYTES / 16;
    if (!status)
        status = work_run(w, w->in, CHECK_BYTES / 4, &got);
    for (uint32_t i = 0; i < CHECK_BYTES / 4 && !status; i++)
        if (got[i] != i + w->seed)
            status = not_done("probe_store", got[i], i + w->seed);
    memory_release(&memory, w->p->dev);
    free(got);
    return status;
}

static enum mt_status probe_write(struct prober *p) {
    struct work w;
    double ns;
    enum mt_status status = work_init(&w, p, "probe_store", 0);
    w.param[0] = &w.in, w.param[1] = &w.count, w.param[2] = &w.seed;
    w.seed = SEED;
    if (status || (status = check_store(&w)) || (status = need_buffer(p)))
        return status;
    w.in = p->buffer;
    w.count = (long long)(p->buffer_bytes / 16);
    if (!(status = work_time(&w, &ns)))
        add_limit(p, "dram_write", "GB/s", (double)p->buffer_bytes / ns);
    return status;
}

static enum mt_status probe_read_load(struct prober *p) {
    return probe_read(p, "dram_read_load", "probe_load", 0);
}

static enum mt_status probe_read_bulk(struct prober *p) {
    return probe_read(p, "dram_read_bulk", "probe_bulk", BULK_SHARED);
}

static enum mt_status probe_l2(struct prober *p) {
    enum { ROUNDS = 16 };
    struct work w;
    struct memory memory = {0};
    double ns;
    size_t bytes = ((size_t)p->dev->l2_bytes / L2_SHARE / MIB + 1) * MIB;
    enum mt_status status = stream_init(&w, p, "probe_load", 0);
    if (!status && !(status = check_stream(&w, "probe_load")))
        status = memory_alloc(&memory, p->dev, bytes, &w.in);
    w.count = (long long)(bytes / 16);
    if (!status && !(status = work_time_rounds(&w, ROUNDS, &ns)))
        add_limit(p, "l2_read", "GB/s", (double)bytes * ROUNDS / ns);
    memory_release(&memory, p->dev);
    return status;
}

/* ---- latencies ---- */

/* A cycle through all lines of `bytes` bytes in random order (Sattolo's shuffle): the offset of the next line stands at
 * the start of each. */
static unsigned char *make_links(size_t bytes) {
    uint32_t lines = (uint32_t)(bytes / LINE), *order = xcalloc(lines, sizeof *order);
    unsigned char *links = xcalloc(bytes, 1);
    uint64_t state = SEED;
    for (uint32_t i = 0; i < lines; i++)
        order[i] = i;
    for (uint32_t i = lines - 1; i > 0; i--) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint32_t j = (uint32_t)((state >> 32) * i >> 32), swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
    for (uint32_t i = 0; i < lines; i++) {
        uint32_t offset = order[(i + 1) % lines] * LINE;
        memcpy(links + (size_t)order[i] * LINE, &offset, sizeof offset);
    }
    free(order);
    return links;
}

static uint32_t follow(const unsigned char *links, uint32_t at, int count) {
    for (int i = 0; i < count; i++)
        memcpy(&at, links + at, sizeof at);
    return at;
}

static void turn_start(struct work *w, int turn) {
    w->first = w->start[turn];
}

static enum mt_status chase_init(struct work *w, struct prober *p, struct memory *memory, const unsigned char *links,
                                 size_t bytes) {
    uint32_t *got;
    enum mt_status status = work_init(w, p, "probe_chase", 0);
    w->grid = w->threads = 1;
    w->param[0] = &w->out, w->param[1] = &w->rounds, w->param[2] = &w->in, w->param[3] = &w->first;
    w->rounds = CHECK_ROUNDS;
    if (status || (status = memory_upload(memory, p->dev, links, bytes, &w->in)) ||
        (status = work_run(w, w->out, 1, &got)))
        return status;
    uint32_t want = follow(links, 0, CHECK_ROUNDS * LINKS_A_ROUND);
    if (*got != want)
        status = not_done("probe_chase", *got, want);
    free(got);
    return status;
}

static enum mt_status probe_l2_latency(struct prober *p) {
    enum { BYTES = 32 * 1024, ROUNDS = 2048 };
    struct work w;
    struct memory memory = {0};
    double ns;
    unsigned char *links = make_links(BYTES);
    enum mt_status status = chase_init(&w, p, &memory, links, BYTES);
    if (!status && !(status = work_time_rounds(&w, ROUNDS, &ns)))
        add_limit(p, "l2_latency", "ns", ns / ROUNDS / LINKS_A_ROUND);
    memory_release(&memory, p->dev);
    free(links);
    return status;
}

/* Each launch goes on where the one before stopped, so it finds none of its lines in the cache. */
static enum mt_status probe_dram_latency(struct prober *p) {
    enum { ROUNDS = 1024, STEPS = ROUNDS * LINKS_A_ROUND };
    struct work w;
    struct memory memory = {0};
    double ns;
    size_t bytes = (size_t)p->dev->l2_bytes * LINKS_MULTIPLE / LINE * LINE;
    unsigned char *links = make_links(bytes);
    enum mt_status status = chase_init(&w, p, &memory, links, bytes);
    w.rotation = (int)(bytes / LINE / STEPS);
    if (w.rotation < 1)
        w.rotation = 1;
    w.start = xcalloc((size_t)w.rotation, sizeof *w.start);
    for (int i = 1; i < w.rotation; i++)
        w.start[i] = follow(links, w.start[i - 1], STEPS);
    w.turn = turn_start;
    w.rounds = ROUNDS;
    if (!status && !(status = work_time(&w, &ns)))
        add_limit(p, "dram_latency", "ns", ns / STEPS);
    memory_release(&memory, p->dev);
    free(w.start);
    free(links);
    return status;
}

/* ---- launches ---- */

static enum mt_status time_empty(struct prober *p, const char *name, int launches) {
    struct work w;
    double ns;
    CUdeviceptr nowhere = 0;
    enum mt_status status = work_init(&w, p, "probe_empty", 0);
    w.grid = (unsigned)p->dev->sm_count;
    w.param[0] = &nowhere;
    w.launches = launches;
    if (!status && !(status = work_time(&w, &ns)))
        add_limit(p, name, "us", ns / 1e3);
    return status;
}

/* Alone the kernel is short enough for the timer to make a graph of it; so many in one turn are not. */
static enum mt_status probe_graph_node(struct prober *p) {
    return time_empty(p, "graph_node", 1);
}

static enum mt_status probe_launch(struct prober *p) {
    return time_empty(p, "launch", 32);
}

/* ---- all of them ---- */

static const struct {
    const char *name;
    int cc; /* the compute capability that it needs */
    enum mt_status (*measure)(struct prober *p);
} others[] = {
    {"dram_write", 80, probe_write},         {"dram_read_load", 80, probe_read_load},
    {"dram_read_bulk", 90, probe_read_bulk}, {"l2_read", 80, probe_l2},
    {"l2_latency", 80, probe_l2_latency},    {"dram_latency", 80, probe_dram_latency},
    {"graph_node", 80, probe_graph_node},    {"launch", 80, probe_launch},
};
enum { RATES = sizeof rates / sizeof *rates, OTHERS = sizeof others / sizeof *others };
_Static_assert(RATES + OTHERS + 1 <= MAX_LIMITS, "each step finds a limit, `fma` two: raise MAX_LIMITS (probe.h)");

static bool has_wgmma(const struct device *dev) {
    return dev->cc / 10 == 9;
}

int probe_steps(void) {
    return OTHERS + RATES;
}

const char *probe_step(const struct device *dev, int step) {
    if (step < OTHERS)
        return others[step].cc <= dev->cc ? others[step].name : NULL;
    const struct rate *rate = &rates[step - OTHERS];
    return !rate->wgmma || has_wgmma(dev) ? rate->name : NULL;
}

enum mt_status probe_compile(const struct device *dev) {
    enum mt_status status = MT_OK;
    for (int wgmma = 0; wgmma <= has_wgmma(dev) && !status; wgmma++) {
        struct image image;
        if (!(status = compile(dev, wgmma, &image)))
            image_release(&image);
    }
    return status;
}

enum mt_status prober_open(struct device *dev, struct prober **out) {
    struct prober *p = xcalloc(1, sizeof *p);
    int khz = 0;
    p->dev = dev;
    enum mt_status status = check(p, dev->drv.DeviceGetAttribute(&khz, CU_DEVICE_ATTRIBUTE_CLOCK_RATE, dev->handle),
                                  "the highest clock of the device");
    p->highest_hz = 1e3 * khz;
    if (!status && !dev->software && gate_open(dev, &p->gate))
        log_warn(
            "%s: limits can hold time in which the device waited for the host, and a low clock is not noticed (%s)",
            dev->name, fail_message());
    if (!status)
        status = memory_alloc(&p->memory, dev, (size_t)CHECK_GRID * THREADS * 4, &p->out);
    if (status) {
        prober_close(p);
        p = NULL;
    }
    *out = p;
    return status;
}

void prober_close(struct prober *p) {
    if (!p)
        return;
    memory_release(&p->memory, p->dev);
    gate_close(p->gate);
    for (int i = 0; i < 2; i++)
        if (p->module[i])
            p->dev->drv.ModuleUnload(p->module[i]);
    free(p);
}

enum mt_status prober_measure(struct prober *p, int step, struct limits *out) {
    p->found = out;
    return step < OTHERS ? others[step].measure(p) : probe_rate(p, &rates[step - OTHERS]);
}

double limit_value(const struct limits *limits, const char *name) {
    for (int i = 0; i < limits->count; i++)
        if (!strcmp(limits->item[i].name, name))
            return limits->item[i].value;
    return 0;
}
