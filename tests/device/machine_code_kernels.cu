// Kernels whose machine code is known by hand: tests/device/test_soft_machine_code.c. Operands differ between lanes, or ptxas would leave
// shuffles of them out.
#define ONE_MMA(d) \
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3},{%4,%4,%4,%4},{%4,%4},{%0,%1,%2,%3};" \
                 : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3]) : "r"(one))
#define ONE_EX2(x) asm volatile("ex2.approx.f32 %0, %0;" : "+f"(x))

// `n` times 5 MMA and, `m` times in each, 3 ex2; then `n` times 2 shuffles.
extern "C" __global__ void nested(int *out, int n, int m) {
    int d[4] = {}, one = static_cast<int>(threadIdx.x);
    float x = 1.0f;
#pragma unroll 1
    for (int i = 0; i < n; i++) {
        ONE_MMA(d);
        ONE_MMA(d);
        ONE_MMA(d);
        ONE_MMA(d);
        ONE_MMA(d);
#pragma unroll 1
        for (int j = 0; j < m; j++) {
            ONE_EX2(x);
            ONE_EX2(x);
            ONE_EX2(x);
        }
    }
#pragma unroll 1
    for (int i = 0; i < n; i++) {
        asm volatile("shfl.sync.bfly.b32 %0, %0, 1, 31, 0xffffffff;" : "+r"(d[0]));
        asm volatile("shfl.sync.bfly.b32 %0, %0, 2, 31, 0xffffffff;" : "+r"(d[1]));
    }
    out[blockIdx.x * blockDim.x + threadIdx.x] = d[0] + d[1] + d[2] + d[3] + (int)x;
}

// Warp 0 waits for warp 1, which works `n` times before it says so.
extern "C" __global__ void waits(int *out, int *flag, int n) {
    if (threadIdx.x >= 32) {
        float x = 1.0f;
#pragma unroll 1
        for (int i = 0; i < n; i++)
            ONE_EX2(x);
        out[threadIdx.x] = (int)x;
        __threadfence();
        if (threadIdx.x == 32)
            asm volatile("st.release.gpu.global.s32 [%0], 1;" ::"l"(flag) : "memory");
    } else {
        int seen;
        do
            asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(seen) : "l"(flag) : "memory");
        while (!seen);
        out[threadIdx.x] = seen;
    }
}

// Strong loads that are work: their loop ends by a count.
extern "C" __global__ void reads(int *out, const volatile int *in, int n) {
    int all = 0;
#pragma unroll 1
    for (int i = 0; i < n; i++)
        all += in[i];
    out[threadIdx.x] = all;
}

// The compiler makes 12 iterations one piece.
extern "C" __global__ void flat(int *out) {
    int d[4] = {}, one = 0x01010101;
#pragma unroll
    for (int i = 0; i < 12; i++)
        ONE_MMA(d);
    out[threadIdx.x] = d[0];
}
