// CUDA intrinsics whose PTX the software device must execute exactly: one output word each, in the order of the table
// in test_soft_intrinsics.c.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

typedef unsigned word;
typedef unsigned long long wide;

__device__ word bits(__half2 x) {
    return *reinterpret_cast<word *>(&x);
}
__device__ word bits(__nv_bfloat162 x) {
    return *reinterpret_cast<word *>(&x);
}

extern "C" __global__ void integers(const word *in, word *out, int n) {
    int t = blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= n)
        return;
    word a = in[3 * t], b = in[3 * t + 1], c = in[3 * t + 2], *o = out + 32 * t;
    wide ab = (wide)a << 32 | b, cb = (wide)c << 32 | b;
    *o++ = __vadd4(a, b);
    *o++ = __vsub4(a, b);
    *o++ = __vaddss4(a, b);
    *o++ = __vabsdiffu4(a, b);
    *o++ = __vmaxs4(a, b);
    *o++ = __vavgu4(a, b);
    *o++ = __vcmpgtu4(a, b);
    *o++ = __vsadu4(a, b);
    *o++ = __vadd2(a, b);
    *o++ = __vmins2(a, b);
    *o++ = __funnelshift_l(a, b, c);
    *o++ = __funnelshift_rc(a, b, c);
    *o++ = __byte_perm(a, b, c);
    *o++ = __popc(a) + 100 * __ffs(b) + 10000 * __clz(c);
    *o++ = __brev(a);
    *o++ = (word)(__brevll(ab) >> 7);
    *o++ = __umulhi(a, b);
    *o++ = __mulhi((int)a, (int)b);
    *o++ = (word)__umul64hi(ab, cb);
    *o++ = __mul24((int)a, (int)b);
    *o++ = __usad(a, b, c);
    *o++ = __dp4a((int)a, (int)b, (int)c);
    *o++ = __dp2a_hi(a, b, c);
    *o++ = (word)(ab / (c | 1));
    *o++ = (word)((long long)ab % (long long)(int)(c | 1));
    *o++ = (word)(((unsigned __int128)ab * cb / (ab | 1)) >> 3); // long carry chains
    *o++ = a / (b | 1) + c % 1000;
    *o++ = (word)((long long)ab >> (c & 63));
    *o++ = (short)a * (short)b + (signed char)c;
    *o++ = __fns(a, b & 31, (int)(c % 9) - 4);
    *o++ = min((int)a, max((int)b, (int)c));
    *o++ = __rhadd((int)a, (int)b);
}

extern "C" __global__ void floats(const word *in, word *out, int n) {
    int t = blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= n)
        return;
    word x = in[3 * t], y = in[3 * t + 1], z = in[3 * t + 2], *o = out + 32 * t;
    float a = __uint_as_float(x), b = __uint_as_float(y), c = __uint_as_float(z);
    double d = __hiloint2double(x, y), e = __hiloint2double(y, z);
    *o++ = __float_as_uint(__fadd_rz(a, b));
    *o++ = __float_as_uint(__fmul_ru(a, b));
    *o++ = __float_as_uint(__fmaf_rd(a, b, c));
    *o++ = __float_as_uint(__fdiv_rn(a, b));
    *o++ = __float_as_uint(__fsqrt_rn(a));
    *o++ = __float_as_uint(rintf(a));
    *o++ = (word)__float2int_rn(a);
    *o++ = __float2uint_rz(a);
    *o++ = __float_as_uint(__int2float_rz((int)x));
    *o++ = __float_as_uint(__ull2float_rn((wide)x << 32 | y));
    *o++ = (word)(__double_as_longlong(__dadd_rn(d, e)) >> 32);
    *o++ = (word)__double_as_longlong(__dmul_ru(d, e));
    *o++ = (word)__double_as_longlong(d / e);
    *o++ = (word)__double2int_rz(d);
    *o++ = (d < e) + 2 * !(a >= b) + 4 * (a != b);
    *o++ = bits(__hadd2(*(__half2 *)&x, *(__half2 *)&y));
    *o++ = bits(__hmul2(*(__half2 *)&x, *(__half2 *)&y));
    *o++ = bits(__hfma2(*(__half2 *)&x, *(__half2 *)&y, *(__half2 *)&z));
    *o++ = bits(__hfma2(*(__nv_bfloat162 *)&x, *(__nv_bfloat162 *)&y, *(__nv_bfloat162 *)&z));
    *o++ = bits(__floats2half2_rn(a, b));
    *o++ = bits(__floats2bfloat162_rn(a, b));
    *o++ = __float_as_uint(__low2float(*(__half2 *)&x));
    *o++ = (word)__half2int_rn(__low2half(*(__half2 *)&x));
    *o++ = __half_as_ushort(__float2half_rz(a));
    while (o < out + 32 * t + 32)
        *o++ = 0;
}
