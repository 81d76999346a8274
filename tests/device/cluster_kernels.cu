// Kernels with clusters, as anyone would write them for sm_90: nothing here knows of the device that runs them.

using uint = unsigned int;
struct alignas(64) TensorMap {
    unsigned char opaque[128];
};

__device__ __forceinline__ uint shared_address(const void *p) {
    return static_cast<uint>(__cvta_generic_to_shared(p));
}
__device__ __forceinline__ uint cluster_rank() {
    uint rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}
__device__ __forceinline__ uint cluster_size() {
    uint size;
    asm volatile("mov.u32 %0, %%cluster_nctarank;" : "=r"(size));
    return size;
}
__device__ __forceinline__ void cluster_sync() {
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
template <class T> __device__ __forceinline__ T *of_peer(T *p, uint rank) {
    T *out;
    asm("mapa.u64 %0, %1, %2;" : "=l"(out) : "l"(p), "r"(rank));
    return out;
}

// out[cluster] = sum of the cluster's words; every CTA sums its own, then CTA 0 those of all.
extern "C" __global__ void cluster_sum(const uint *in, uint each, uint *out) {
    __shared__ uint sum;
    if (threadIdx.x == 0)
        sum = 0;
    __syncthreads();
    for (uint i = threadIdx.x; i < each; i += blockDim.x)
        atomicAdd(&sum, in[blockIdx.x * each + i]);
    cluster_sync();
    if (cluster_rank() == 0 && threadIdx.x == 0) {
        uint all = 0;
        for (uint r = 0; r < cluster_size(); r++)
            all += *of_peer(&sum, r);
        out[blockIdx.x / cluster_size()] = all;
    }
    cluster_sync();
}

// Every word goes to the CTA of the cluster that its remainder names, by atomics: count[CTA] of them, summing to total[CTA].
extern "C" __global__ void __cluster_dims__(4, 1, 1) cluster_scatter(const uint *in, uint each, uint *count, uint *total) {
    __shared__ uint words, sum;
    if (threadIdx.x == 0)
        words = sum = 0;
    cluster_sync();
    for (uint i = threadIdx.x; i < each; i += blockDim.x) {
        uint word = in[blockIdx.x * each + i];
        atomicAdd(of_peer(&words, word % 4), 1);
        atomicAdd(of_peer(&sum, word % 4), word);
    }
    cluster_sync();
    if (threadIdx.x == 0) {
        count[blockIdx.x] = words;
        total[blockIdx.x] = sum;
    }
}

// C = A . B^T of bytes, C modulo 2^16: tiles of 64 x 32, K in steps of 128. The two CTAs of a cluster have rows of A of their own and share
// the rows of B: each fetches one half for both.
constexpr int kRows = 64, kColumns = 32, kStep = 128, kStages = 3, kConsumers = 128;

struct Shared {
    alignas(128) unsigned char a[kStages][kRows * kStep];
    alignas(128) unsigned char b[kStages][kColumns * kStep];
    alignas(128) unsigned short c[kRows * kColumns];
    unsigned long long full[kStages], empty[kStages];
};

__device__ __forceinline__ void barrier_init(unsigned long long *barrier, uint count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(count) : "memory");
}
__device__ __forceinline__ void barrier_wait(unsigned long long *barrier, uint parity) {
    asm volatile("{\n.reg .pred done;\nAGAIN:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n@!done bra AGAIN;\n}" ::"r"(shared_address(barrier)),
                 "r"(parity)
                 : "memory");
}
__device__ __forceinline__ void barrier_expect(unsigned long long *barrier, uint bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes) : "memory");
}
__device__ __forceinline__ void barrier_arrive_at(unsigned long long *barrier, uint rank) {
    uint remote;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(shared_address(barrier)), "r"(rank));
    asm volatile("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];" ::"r"(remote) : "memory");
}
__device__ __forceinline__ void load_box(void *to, const TensorMap *map, int x, int y, unsigned long long *barrier) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(
                     shared_address(to)),
                 "l"(map), "r"(x), "r"(y), "r"(shared_address(barrier))
                 : "memory");
}
__device__ __forceinline__ void load_box_to_all(void *to, const TensorMap *map, int x, int y, unsigned long long *barrier,
                                                unsigned short mask) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%2, %3}], "
                 "[%4], %5;" ::"r"(shared_address(to)),
                 "l"(map), "r"(x), "r"(y), "r"(shared_address(barrier)), "h"(mask)
                 : "memory");
}

__device__ void produce(Shared &s, const TensorMap *a, const TensorMap *b, int k, uint rank) {
    for (int step = 0; step < k / kStep; step++) {
        int at = step % kStages;
        barrier_wait(&s.empty[at], step / kStages % 2 ^ 1);
        barrier_expect(&s.full[at], (kRows + kColumns) * kStep);
        load_box(s.a[at], a, step * kStep, blockIdx.x * kRows, &s.full[at]);
        load_box_to_all(s.b[at] + rank * kColumns / 2 * kStep, b, step * kStep, blockIdx.y * kColumns + rank * kColumns / 2, &s.full[at],
                        3);
    }
}

__device__ void consume(Shared &s, int k) {
    uint sum[kColumns / 2] = {}, row = threadIdx.x / 2, first = threadIdx.x % 2 * (kColumns / 2);
    for (int step = 0; step < k / kStep; step++) {
        int at = step % kStages;
        barrier_wait(&s.full[at], step / kStages % 2);
        for (int i = 0; i < kStep / 4; i++) {
            uint word = reinterpret_cast<const uint *>(s.a[at])[row * kStep / 4 + i];
            for (int c = 0; c < kColumns / 2; c++)
                sum[c] = __dp4a(word, reinterpret_cast<const uint *>(s.b[at])[(first + c) * kStep / 4 + i], sum[c]);
        }
        __syncwarp();
        if (threadIdx.x % 32 < 2)
            barrier_arrive_at(&s.empty[at], threadIdx.x % 32);
    }
    for (int c = 0; c < kColumns / 2; c++)
        s.c[row * kColumns + first + c] = static_cast<unsigned short>(sum[c]);
}

extern "C" __global__ void __cluster_dims__(2, 1, 1)
    cluster_product(const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b, const __grid_constant__ TensorMap c, int k) {
    __shared__ Shared s;
    uint rank = cluster_rank();
    if (threadIdx.x == 0) {
        for (int i = 0; i < kStages; i++) {
            barrier_init(&s.full[i], 1);
            barrier_init(&s.empty[i], 2 * kConsumers / 32);
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    cluster_sync();
    if (threadIdx.x == kConsumers)
        produce(s, &a, &b, k, rank);
    else if (threadIdx.x < kConsumers)
        consume(s, k);
    if (threadIdx.x < kConsumers) {
        asm volatile("fence.proxy.async.shared::cta;\nbar.sync 1, 128;" ::: "memory");
        if (threadIdx.x == 0)
            asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];\n"
                         "cp.async.bulk.commit_group;\ncp.async.bulk.wait_group.read 0;" ::"l"(&c),
                         "r"(blockIdx.y * kColumns), "r"(blockIdx.x * kRows), "r"(shared_address(s.c))
                         : "memory");
    }
    __syncwarp();
    cluster_sync();
}
