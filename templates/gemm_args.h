// The one launch-argument struct of every GEMM kernel, shared by host C and device code.
//
// Y[m, n] = sum over groups g of sx[g, m] * sw[g, n] * P_g + bias[n], with P_g an exact int32 (design: ARCHITECTURE.md,
// "Numbers"). M tokens, N output features, K input features, G the group size along K.
// K is padded to Kp, a multiple of 128, N to a multiple of 16; padded weights dequantise to zero.
#ifndef MT_GEMM_ARGS_H
#define MT_GEMM_ARGS_H

#ifdef __cplusplus
#define MT_ALIGN64 alignas(64)
#else
#define MT_ALIGN64 _Alignas(64)
#endif

#define MT_K_PAD 128
#define MT_N_PAD 16

// Output features of one weight width. A mixed layer has two parts, a uniform one has one of them empty (rows = 0).
// `rows` features are stored as `padded_rows`, a multiple of 16, in increasing order of their output column.
struct mt_gemm_part {
    const void *weights;          // packed blocks: [Kp/128][padded_rows/16][block of 512 bytes]
    const void *scales;           // fp16 [groups][padded_rows]
    const unsigned char *zeros;   // uint8 [groups][padded_rows]; not read for 8-bit and for symmetric weights
    const int *columns;           // [rows]: the output column of each row; NULL: row r is column r
    int rows, padded_rows;
};

enum { MT_PART_W8 = 0, MT_PART_W4 = 1, MT_PARTS = 2 };

struct mt_gemm_args {
    MT_ALIGN64 unsigned char x_map[128]; // sm_90: CUtensorMap of x; other families do not read it
    MT_ALIGN64 unsigned char y_map[128]; // sm_90: CUtensorMap of y, where its rows are aligned to 16 bytes
    struct mt_gemm_part part[MT_PARTS];
    const signed char *x;   // int8 [M][Kp], zero beyond K
    const float *x_scales;  // fp32 [groups][M]
    const int *x_sums;      // int32 [groups][M]: sum of x over the group
    void *y;                // fp16 or bf16 [M][ldy], row-major
    const void *bias;       // fp16 or bf16 [N], or NULL
    float *partials;        // partial sums: fp32 [slots][tile_n * tile_m] in fragment order; not read where no tile is shared along K
    unsigned *counters;     // one per shared output tile, zero before and after every launch
    int m, n, k_padded;     // tokens, output features, padded input features
    int groups;             // ceil(k_padded / G)
    int ldy;                // elements between rows of y, >= n
    int split_k;            // CTAs that share one output tile along K, >= 1
    int stream_k;           // sm_90: 0, or the least K steps of a CTA when the last tiles are shared evenly (tile/schedule.cuh)
    int raster;             // token tiles that are walked together before the next feature tile, >= 1
};

// A CTA of quantize_act.cu, and the input features that it quantises of a token.
#define MT_QUANTIZE_THREADS 128
#define MT_QUANTIZE_FEATURES (8 * MT_QUANTIZE_THREADS)

// Arguments of quantize_act.cu: X fp16/bf16 [M][ldx] -> int8 [M][Kp], scales and sums [groups][M].
struct mt_quantize_args {
    const void *x;
    signed char *q;
    float *scales;
    int *sums;
    int m, k, k_padded, groups;
    int ldx;
};

// Arguments of gemm_f16.cu: Y[M, N] = X[M, K] . W[N, K]^T, all fp16 or all bf16, fp32 accumulation.
// ldx and ldw are multiples of 8 elements and the padding between K and them is zero.
struct mt_gemm_f16_args {
    const void *x, *w;
    void *y;
    const void *bias; // [N] or NULL
    float *partials;  // as in mt_gemm_args
    unsigned *counters;
    int m, n, k;
    int ldx, ldw, ldy;
    int split_k;
    int raster;
};

// ---- shared memory of a quantised tile: one formula for the kernel that lays it out and the host that asks for it ----
#ifdef __cplusplus
#define MT_SHARED_FORMULA constexpr __host__ __device__ inline
#else
#define MT_SHARED_FORMULA static inline
#endif

MT_SHARED_FORMULA int mt_round_up(int value, int to) {
    return (value + to - 1) / to * to;
}

// Dynamic shared memory that QuantTile (tile/quant_tile.cuh) needs, in bytes, and where in a stage its parts begin. A stage holds tokens
// int8 [tile_m][tile_k], packed weights, then for each group of the step scales of the features fp16 [tile_n], scales of the tokens
// fp32 [tile_m], sums of the tokens int32 [tile_m] (if `sums`) and zero points uint8 [tile_n] (if `zeros`).
MT_SHARED_FORMULA int mt_stage_weights_at(int tile_m, int tile_k) {
    return tile_m * tile_k;
}
MT_SHARED_FORMULA int mt_stage_scales_at(int bits, int tile_n, int tile_m, int tile_k) {
    return mt_stage_weights_at(tile_m, tile_k) + tile_n * tile_k * bits / 8;
}
MT_SHARED_FORMULA int mt_stage_token_scales_at(int bits, int tile_n, int tile_m, int tile_k, int group) {
    return mt_stage_scales_at(bits, tile_n, tile_m, tile_k) + tile_k / group * tile_n * 2;
}
MT_SHARED_FORMULA int mt_stage_sums_at(int bits, int tile_n, int tile_m, int tile_k, int group) {
    return mt_stage_token_scales_at(bits, tile_n, tile_m, tile_k, group) + tile_k / group * tile_m * 4;
}
MT_SHARED_FORMULA int mt_stage_zeros_at(int bits, int tile_n, int tile_m, int tile_k, int group, int sums) {
    return mt_stage_sums_at(bits, tile_n, tile_m, tile_k, group) + (sums ? tile_k / group * tile_m * 4 : 0);
}
MT_SHARED_FORMULA int mt_stage_bytes(int bits, int tile_n, int tile_m, int tile_k, int group, int sums, int zeros) {
    return mt_round_up(mt_stage_zeros_at(bits, tile_n, tile_m, tile_k, group, sums) + (zeros ? tile_k / group * tile_n : 0), 128);
}
// The output tile goes through the same memory once the stages are done: 16-bit [tile_m][tile_n + 8].
MT_SHARED_FORMULA int mt_output_pitch(int tile_n) {
    return tile_n + 8; // the rows that the four lanes of a quad write lie in different banks
}
// On sm_90 it has memory of its own: 16-bit [64 features][tile_m][64], as a tensor map with 128-byte swizzle has it. Where a cluster shares
// the tile along K, fp32 partial sums take its place; where warp groups do, those of all but the first stand behind it.
MT_SHARED_FORMULA int mt_swizzled_output_bytes(int tile_n, int tile_m, int cluster_k, int groups_k) {
    return tile_n * tile_m * ((cluster_k > 1 ? 4 : 2) + (groups_k - 1) * 4);
}
MT_SHARED_FORMULA int mt_shared_bytes(int stages, int stage_bytes, int tile_n, int tile_m) {
    return stages * stage_bytes > tile_m * mt_output_pitch(tile_n) * 2 ? stages * stage_bytes
                                                                       : tile_m * mt_output_pitch(tile_n) * 2;
}

// ---- registers of gemm_sm90.cu: what setmaxnreg leaves to whom, and what a consumer holds ----

#define MT_PRODUCER_REGISTERS 40
// Per thread at launch: the same for every warp group.
MT_SHARED_FORMULA int mt_launch_registers(int consumers, int ctas) {
    return 512 / ((consumers + 1) * ctas) / 8 * 8 < 248 ? 512 / ((consumers + 1) * ctas) / 8 * 8 : 248;
}
// Per thread of a consumer, once the producer has given up most of its share.
MT_SHARED_FORMULA int mt_consumer_registers(int consumers, int ctas) {
    const int share = (mt_launch_registers(consumers, ctas) * (consumers + 1) - MT_PRODUCER_REGISTERS) / consumers / 8 * 8;
    return share < 240 ? share : 240;
}

// Live values of a consumer: accumulators, and sums, weights and features of each job (the multiplications of one group for one block of 64
// features) that is under way.
MT_SHARED_FORMULA int mt_consumer_live(int blocks, int tile_m, int group, int jobs) {
    return blocks * tile_m / 2 + jobs * (tile_m / 2 + group / 64 * 8 + 6);
}
// Jobs under way at a time: two where a step has two and they fit, so that one is promoted while the other multiplies; else one; 0: not even
// one fits. How many registers ptxas wants beside them before it spills is from experience (tests/bench/bench_spills.c): it loads ahead.
MT_SHARED_FORMULA int mt_consumer_jobs(int blocks, int tile_m, int tile_k, int group, int consumers, int pingpong, int ctas) {
    const int jobs = tile_k / group * blocks, registers = mt_consumer_registers(consumers, ctas);
    const int beside_two = jobs > 2 ? 80 : 16, beside_one = blocks > 1 ? (jobs > 2 ? 80 : 64) + (pingpong ? 16 : 0) : jobs > 1 && pingpong ? 32 : 16;
    return jobs > 1 && mt_consumer_live(blocks, tile_m, group, 2) <= registers - beside_two ? 2
           : mt_consumer_live(blocks, tile_m, group, 1) <= registers - beside_one           ? 1
                                                                                            : 0;
}

// ---- stream-K: which tiles are shared (tile/schedule.cuh deals out their steps); the host needs it for the workspace ----

// Of `tiles` output tiles, as many from the first on are shared evenly by all `workers`: the last, unfull wave and the one before it.
MT_SHARED_FORMULA int mt_streamed_tiles(int tiles, int workers) {
    return tiles % workers == 0 ? 0 : tiles < workers ? tiles : workers + tiles % workers;
}
// How many workers share them, each with `least` K steps at least, `steps` being those of one tile.
MT_SHARED_FORMULA int mt_stream_workers(int streamed, int steps, int least, int workers) {
    const long long most = (long long)streamed * steps / least;
    return most < 1 ? 1 : most < workers ? (int)most : workers;
}

#endif
