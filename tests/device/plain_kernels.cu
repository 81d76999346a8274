// Ordinary kernels, as anyone would write them: nothing here knows of the device that runs them.

#ifndef __CUDACC_RTC__ // whose headers these are not
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#endif

extern "C" __global__ void vector_add(const float *a, const float *b, float *c, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        c[i] = a[i] + b[i];
}

// Sum of n integers into *out, which starts at zero: a tree in shared memory, then in a warp, then one atomic per block.
extern "C" __global__ void reduce_sum(const int *in, int n, int *out) {
    extern __shared__ int part[];
    int sum = 0;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        sum += in[i];
    part[threadIdx.x] = sum;
    __syncthreads();
    for (int half = blockDim.x / 2; half >= 32; half /= 2) {
        if (threadIdx.x < half)
            part[threadIdx.x] += part[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x < 32) {
        sum = part[threadIdx.x];
        for (int step = 16; step; step /= 2)
            sum += __shfl_down_sync(0xffffffff, sum, step);
        if (threadIdx.x == 0)
            atomicAdd(out, sum);
    }
}

#define TILE 32
// out[x][y] = in[y][x]; blocks of TILE x 8 threads.
extern "C" __global__ void transpose(const double *in, double *out, int width, int height) {
    __shared__ double tile[TILE][TILE + 1];
    int x = blockIdx.x * TILE + threadIdx.x, y = blockIdx.y * TILE + threadIdx.y;
    for (int j = 0; j < TILE; j += 8)
        if (x < width && y + j < height)
            tile[threadIdx.y + j][threadIdx.x] = in[(y + j) * width + x];
    __syncthreads();
    x = blockIdx.y * TILE + threadIdx.x;
    y = blockIdx.x * TILE + threadIdx.y;
    for (int j = 0; j < TILE; j += 8)
        if (x < height && y + j < width)
            out[(y + j) * height + x] = tile[threadIdx.x][threadIdx.y + j];
}

__constant__ float weights[5];
__device__ int calls;

// A 5-tap filter with weights that the host sets, and a variable that it reads.
extern "C" __global__ void filter(const float *in, float *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i == 0)
        calls++;
    if (i >= n)
        return;
    float sum = 0;
    for (int k = -2; k <= 2; k++)
        if (i + k >= 0 && i + k < n)
            sum += weights[k + 2] * in[i + k];
    out[i] = sum;
}

#ifndef __CUDACC_RTC__
// Sums over tiles of two warps, which share memory that the system reserves. The block has 256 threads.
extern "C" __global__ void tile_sums(const int *in, int *out) {
    namespace cg = cooperative_groups;
    __shared__ cg::block_tile_memory<256> memory;
    auto tile = cg::tiled_partition<64>(cg::this_thread_block(memory));
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    out[i] = cg::reduce(tile, in[i], cg::plus<int>()) * 2 + (tile.thread_rank() == 63);
}

// Each round a block gives its number times what all gave in the round before: two barriers of the grid. Starts with ones.
extern "C" __global__ void grid_rounds(unsigned *given, unsigned *total, int rounds) {
    auto grid = cooperative_groups::this_grid();
    for (int r = 0; r < rounds; r++) {
        if (threadIdx.x == 0) {
            unsigned sum = 0;
            for (unsigned b = 0; b < gridDim.x; b++)
                sum += given[b];
            total[blockIdx.x] = sum * (blockIdx.x + 1);
        }
        grid.sync();
        if (threadIdx.x == 0)
            given[blockIdx.x] = total[blockIdx.x];
        grid.sync();
    }
}
#endif
