// Small kernels around the wrappers of templates/ptx/ that only Hopper has; compare.cu says the rest.
#include "ptx/bulk.cuh"
#include "ptx/cluster.cuh"
#include "ptx/matrix_store.cuh"
#include "ptx/wgmma.cuh"

#define KERNEL(threads) extern "C" __global__ void __launch_bounds__(threads)

// Swizzled tiles start at multiples of 1024 bytes.
__device__ __forceinline__ unsigned char *aligned(unsigned char *p) {
    return p + (1024 - shared_address(p) % 1024) % 1024;
}

// Two warps hand 16 rounds of words over through 2 stages.
KERNEL(64) mbarrier_stages(const uint *in, uint *out) {
    __shared__ Barrier full[2], empty[2];
    __shared__ uint data[2][32];
    const int lane = threadIdx.x % 32;
    in += blockIdx.x * 512, out += blockIdx.x * 512;
    if (threadIdx.x == 0) {
        for (int s = 0; s < 2; s++)
            mbarrier_init(&full[s], 32), mbarrier_init(&empty[s], 32);
        mbarrier_init_fence();
    }
    __syncthreads();
    for (int i = 0; i < 16; i++) {
        const int s = i % 2, round = i / 2 % 2;
        if (threadIdx.x < 32) {
            mbarrier_wait(&empty[s], round ^ 1);
            data[s][lane ^ 7] = in[i * 32 + lane];
            mbarrier_arrive(&full[s]);
        } else {
            mbarrier_wait(&full[s], round);
            out[i * 32 + lane] = data[s][lane];
            mbarrier_arrive(&empty[s]);
        }
    }
}

// Bulk copies of several sizes in two phases of one barrier; between them lie bytes that nobody may touch.
KERNEL(128) bulk_copies(const uint *in, uint *out) {
    __shared__ alignas(128) uint data[2048];
    __shared__ Barrier barrier;
    const int t = threadIdx.x;
    in += blockIdx.x * 2048, out += blockIdx.x * 2048;
    if (t == 0) {
        mbarrier_init(&barrier, 1);
        mbarrier_init_fence();
    }
    if (t < 16) // the gaps
        data[508 + t % 4 + t / 4 * 512] = 0xfeedf00du + t;
    __syncthreads();
    for (int phase = 0; phase < 2; phase++) {
        if (t == 0) {
            uint *to = data + phase * 1024;
            const uint *from = in + phase * 1024;
            mbarrier_arrive_expect(&barrier, 2 * 508 * 4);
            bulk_copy(to, from + 16, 16, &barrier);
            bulk_copy(to + 4, from, 48, &barrier);
            bulk_copy(to + 16, from + 32, 492 * 4, &barrier);
            bulk_copy(to + 512, from + 512, 508 * 4, &barrier);
        }
        mbarrier_wait(&barrier, phase);
        __syncthreads(); // a parity tells two phases apart, no more
    }
    for (int i = t; i < 2048; i += 128)
        out[i] = data[i];
}

// Small copies count as arrivals when they have landed.
KERNEL(64) copies_arrive(const uint *in, uint *out) {
    __shared__ Barrier barrier;
    __shared__ uint data[4][32];
    const int lane = threadIdx.x % 32;
    in += blockIdx.x * 128, out += blockIdx.x * 128;
    if (threadIdx.x == 0) {
        mbarrier_init(&barrier, 32);
        mbarrier_init_fence();
    }
    __syncthreads();
    if (threadIdx.x < 32) {
        for (int i = 0; i < 4; i++)
            cp_async_4(shared_address(&data[i][lane ^ i]), in + i * 32 + lane, i < 3 || lane % 3 != 0);
        mbarrier_arrive_on_cp_async(&barrier);
    } else {
        mbarrier_wait(&barrier, 0);
        for (int i = 0; i < 4; i++)
            out[i * 32 + lane] = data[i][lane];
    }
}

struct Map {
    alignas(64) unsigned char bytes[128];
};

// Boxes of 128 bytes x 24 rows of a tensor of 384 x 37 (compare_wrappers.c): inside, over each edge, and wholly outside.
KERNEL(128) boxes(const uint *, uint *out, const __grid_constant__ Map map) {
    enum { COUNT = 6, BYTES = 128 * 24 };
    __shared__ unsigned char raw[1024 + COUNT * BYTES];
    __shared__ Barrier barrier;
    const int x[COUNT] = {0, 128, 256, 320, -64, 512}, y[COUNT] = {0, 13, 24, 36, -8, 0};
    unsigned char *data = aligned(raw);
    if (threadIdx.x == 0) {
        tensor_map_prefetch(map.bytes);
        mbarrier_init(&barrier, 1);
        mbarrier_init_fence();
        mbarrier_arrive_expect(&barrier, COUNT * BYTES);
        for (int i = 0; i < COUNT; i++)
            bulk_copy_box(data + i * BYTES, map.bytes, x[i], y[i], &barrier);
    }
    __syncthreads();
    mbarrier_wait(&barrier, 0);
    for (int i = threadIdx.x; i < COUNT * BYTES / 4; i += 128)
        out[i] = reinterpret_cast<const uint *>(data)[i];
}

// Rows of 128 bytes go out to a tensor of 37 rows of 100 16-bit elements, 256 bytes apart: inside, over each edge, and wholly outside.
KERNEL(128) stored_boxes(const uint *in, uint *, const __grid_constant__ Map map) {
    enum { COUNT = 5, BYTES = 128 * 24 };
    __shared__ unsigned char raw[1024 + COUNT * BYTES];
    const int x[COUNT] = {0, 64, 0, 64, 128}, y[COUNT] = {0, 0, 24, 24, 8};
    unsigned char *data = aligned(raw);
    for (int i = threadIdx.x; i < COUNT * BYTES / 4; i += 128)
        reinterpret_cast<uint *>(data)[i] = in[i];
    copy_engine_fence();
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int i = 0; i < COUNT; i++)
            bulk_store_box(map.bytes, x[i], y[i], data + i * BYTES);
        bulk_commit();
        bulk_wait_read();
    }
    __syncthreads();
    for (int i = threadIdx.x; i < COUNT * BYTES / 4; i += 128) // it has been read
        reinterpret_cast<uint *>(data)[i] = 0;
}

// Four CTAs each load a box for all of them, and tell each other's mbarriers when they have read theirs.
extern "C" __global__ void __cluster_dims__(4, 1, 1) __launch_bounds__(128) cluster_boxes(const uint *, uint *out, const __grid_constant__ Map map) {
    enum { COUNT = 4, BYTES = 128 * 24 };
    __shared__ unsigned char raw[1024 + COUNT * BYTES];
    __shared__ Barrier full, empty;
    unsigned char *data = aligned(raw);
    const int rank = cluster_rank();
    if (threadIdx.x == 0) {
        mbarrier_init(&full, 1), mbarrier_init(&empty, COUNT);
        mbarrier_init_fence();
    }
    cluster_sync();
    for (int round = 0; round < 2; round++) {
        if (threadIdx.x == 0) {
            mbarrier_wait(&empty, round ^ 1);
            mbarrier_arrive_expect(&full, COUNT * BYTES);
            bulk_copy_box_to((1 << COUNT) - 1, data + rank * BYTES, map.bytes, rank * 64 + round * 16, rank * 9 - round * 3, &full);
        }
        mbarrier_wait(&full, round);
        for (int i = threadIdx.x; i < COUNT * BYTES / 4; i += 128)
            out[((rank + blockIdx.x / COUNT * COUNT) * 2 + round) * COUNT * BYTES / 4 + i] = reinterpret_cast<const uint *>(data)[i];
        __syncthreads();
        if (threadIdx.x < COUNT)
            mbarrier_arrive_at(&empty, threadIdx.x);
    }
    cluster_sync(); // nobody arrives at a CTA that is gone
}

// Four CTAs write numbers that the others read where they lie.
extern "C" __global__ void __cluster_dims__(4, 1, 1) __launch_bounds__(128) cluster_loads(const uint *in, uint *out) {
    enum { COUNT = 4 };
    __shared__ alignas(16) uint data[128];
    __shared__ Barrier ready;
    const int rank = cluster_rank(), t = threadIdx.x;
    if (t == 0) {
        mbarrier_init(&ready, COUNT * 128);
        mbarrier_init_fence();
    }
    cluster_sync();
    data[t] = in[blockIdx.x * 128 + t];
    for (int r = 0; r < COUNT; r++)
        mbarrier_publish_at(&ready, r);
    mbarrier_wait<true>(&ready, 0);
    for (int r = 0; r < COUNT; r++) {
        const Floats4 v = load_at(address_at(shared_address(&data[(t * 7 + rank) % 32 * 4]), r));
        const float part[4] = {v.x, v.y, v.z, v.w};
        out[(blockIdx.x * COUNT + r) * 128 + t] = __float_as_uint(part[t / 32]);
    }
    cluster_sync(); // nobody reads from a CTA that is gone
}

// Registers to columns in an order that differs from warp to warp; what lies between stays.
KERNEL(64) matrix_store(const uint *in, uint *out) {
    __shared__ Words4 columns[2][64];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    in += (blockIdx.x * 64 + threadIdx.x) * 6;
    for (int i = threadIdx.x; i < 128; i += 64)
        columns[i / 64][i % 64] = {1, 2, 3, 4};
    __syncthreads();
    const uint four[4] = {in[0], in[1], in[2], in[3]}, two[2] = {in[4], in[5]};
    stmatrix_transposed<4>(shared_address(&columns[warp][lane ^ (blockIdx.x + warp * 5)]), four);
    stmatrix_transposed<2>(shared_address(&columns[warp][32 + lane % 16 * 2]), two);
    __syncthreads();
    for (int i = threadIdx.x; i < 128; i += 64)
        reinterpret_cast<Words4 *>(out)[blockIdx.x * 128 + i] = columns[i / 64][i % 64];
}

// Two halves of a CTA that wait for their own only.
KERNEL(256) barriers_of_halves(const uint *in, uint *out) {
    __shared__ uint data[2][128];
    const int half = threadIdx.x / 128, t = threadIdx.x % 128;
    uint value = in[blockIdx.x * 256 + threadIdx.x];
    for (int round = 0; round < 8 + half * 5; round++) {
        data[half][t] = value;
        named_barrier(1 + half, 128);
        value = value * 5 + data[half][(t + 37) % 128];
        named_barrier(1 + half, 128);
    }
    out[blockIdx.x * 256 + threadIdx.x] = value;
}

// One half of a CTA hands words to the other and does not wait for it; one lane of each warp says how many words there were.
KERNEL(256) barriers_that_pass(const uint *in, uint *out) {
    __shared__ uint data[8][128];
    const int half = threadIdx.x / 128, t = threadIdx.x % 128;
    in += blockIdx.x * 1024, out += blockIdx.x * 1024;
    for (int round = 0; round < 8; round++)
        if (half == 0) {
            data[round][t ^ round] = in[round * 128 + t] * 3;
            named_barrier_arrive(1 + round, 256);
        } else {
            named_barrier(1 + round, 256);
            out[round * 128 + t] = data[round][(t + 5) % 128];
        }
    __syncthreads();
    if (half == 0 && elected()) // of lanes that all do the same it does not matter which
        out[threadIdx.x / 32] += __popc(__activemask());
}

// One warp group gives registers to two others, which then hold many values. The launch bounds must say what there is to share.
extern "C" __global__ void __launch_bounds__(384, 1) registers_move(const uint *in, uint *out) {
    uint value = in[threadIdx.x];
    if (threadIdx.x >= 256) {
        registers_release<40>();
        for (int i = 0; i < 100; i++)
            value = value * 1664525u + 1013904223u;
    } else {
        registers_take<232>();
        uint many[128];
#pragma unroll
        for (int i = 0; i < 128; i++)
            many[i] = value = value * 22695477u + 1;
        for (int round = 0; round < 4; round++)
#pragma unroll
            for (int i = 0; i < 128; i++)
                many[i] = many[i] * 3 + many[(i + 61) % 128];
#pragma unroll
        for (int i = 0; i < 128; i++)
            value = (value << 3 | value >> 29) ^ many[i];
    }
    out[threadIdx.x] = value;
}
