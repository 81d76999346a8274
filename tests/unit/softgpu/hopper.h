/* Kernels with mbarriers and bulk copies for tests of the software device: their beginning, their steps, and runs in
 * all modes. */
#ifndef TEST_SOFT_HOPPER_H
#define TEST_SOFT_HOPPER_H

#include "runtime/base/str.h"
#include "world.h"

#include <cuda.h>

/* A kernel k(in, out) with an mbarrier at `bar` and 8 KiB of shared memory at `buf`; %r1 is the thread, %r2 = buf. */
static inline void head(struct str *ptx, const char *parameters) {
    str_printf(ptx,
               ".version 8.0\n.target sm_90a\n.address_size 64\n"
               ".visible .entry k(%s)\n"
               "{ .shared .align 1024 .b8 buf[8192]; .shared .align 8 .b8 bar[32];\n"
               ".reg .pred %%p<9>; .reg .b16 %%h<3>; .reg .b32 %%r<32>; .reg .b64 %%rd<16>;\n"
               "ld.param.u64 %%rd1, [in]; ld.param.u64 %%rd2, [out];\n"
               "mov.u32 %%r1, %%tid.x; mov.u32 %%r2, buf; setp.eq.u32 %%p1, %%r1, 0; shr.u32 %%r3, %%r1, 5;\n",
               parameters);
}
#define TWO_POINTERS ".param .u64 in, .param .u64 out"

/* `label` must be new for every wait. */
static inline void wait_parity(struct str *ptx, const char *label, const char *parity) {
    str_printf(ptx, "%s: mbarrier.try_wait.parity.shared::cta.b64 %%p8, [bar], %s; @!%%p8 bra %s;\n", label, parity,
               label);
}

#define INIT(count) "@%p1 mbarrier.init.shared::cta.b64 [bar], " count ";\n"
#define FENCE       "fence.mbarrier_init.release.cluster;\n"
#define EXPECT(n)   "@%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [bar], " n ";\n"
#define BULK        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "

struct pointers {
    void *in, *out;
};

/* What is expected of a run: kind NONE means that out[k] = expected(in, k) for every k < words, in both modes of
 * asynchrony and for several orders of warps. */
struct expectation {
    enum sg_fault_kind kind;
    const char *text;
    uint32_t (*value)(const uint32_t *in, uint32_t k);
    uint32_t words;
    uint32_t grid, cluster; /* CTAs, in a row */
};

static inline void check_run(const struct str *ptx, uint32_t threads, const struct expectation *want) {
    for (uint64_t seed = 0; seed < 8; seed++) {
        struct world w;
        world_open(&w, ptx->data);
        uint32_t *in = world_alloc(&w, 8192), *out = world_alloc(&w, 8192);
        struct pointers p = {in, out};
        w.launch.block[0] = threads;
        w.launch.grid[0] = want->grid;
        w.launch.cluster[0] = want->cluster;
        w.launch.seed = seed;
        w.launch.eager_async = seed % 2;
        if (want->kind == SG_FAULT_NONE) {
            world_run_good(&w, &p);
            for (uint32_t k = 0; k < want->words; k++)
                if (out[k] != want->value(in, k))
                    fail_msg("word %u is %x, not %x", k, out[k], want->value(in, k));
        } else {
            world_run_bad(&w, &p, want->kind, want->text);
        }
        world_close(&w);
    }
}

static inline uint32_t same_word(const uint32_t *in, uint32_t k) {
    return in[k];
}

/* Where 16-byte chunk `c` of row `r` lies: PTX ISA, "Tensor-memory swizzling modes", as a table of rows and chunks. */
static inline unsigned chunk_place(CUtensorMapSwizzle swizzle, unsigned r, unsigned c) {
    switch (swizzle) {
    case CU_TENSOR_MAP_SWIZZLE_128B:
        return c ^ r % 8;
    case CU_TENSOR_MAP_SWIZZLE_64B:
        return c ^ r / 2 % 4;
    case CU_TENSOR_MAP_SWIZZLE_32B:
        return c ^ r / 4 % 2;
    default:
        return c;
    }
}

#endif
