// Kernels of a program of the driver API (test_soft_program.c), in two versions for each edge of a tile.

__constant__ float scale = 1;

extern "C" __global__ void combine(const float *a, const float *b, float *out, float factor, int n) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        out[i] = scale * (a[i] + factor * b[i]);
}

// out [m][n] = a [m][k] b [k][n]; any sizes. Blocks of EDGE x EDGE threads, two tiles in dynamic shared memory.
template <int EDGE> __device__ void product(const float *a, const float *b, float *out, int m, int n, int k) {
    extern __shared__ float tiles[];
    float *left = tiles, *right = tiles + EDGE * EDGE, sum = 0;
    const int x = threadIdx.x, y = threadIdx.y, row = blockIdx.y * EDGE + y, column = blockIdx.x * EDGE + x;
    for (int first = 0; first < k; first += EDGE) {
        left[y * EDGE + x] = row < m && first + x < k ? a[row * k + first + x] : 0;
        right[y * EDGE + x] = column < n && first + y < k ? b[(first + y) * n + column] : 0;
        __syncthreads();
        for (int i = 0; i < EDGE; i++)
            sum += left[y * EDGE + i] * right[i * EDGE + x];
        __syncthreads();
    }
    if (row < m && column < n)
        out[row * n + column] = sum;
}

extern "C" __global__ void product_16(const float *a, const float *b, float *out, int m, int n, int k) {
    product<16>(a, b, out, m, n, k);
}
extern "C" __global__ void product_32(const float *a, const float *b, float *out, int m, int n, int k) {
    product<32>(a, b, out, m, n, k);
}
