/* What the CUDA compiler makes of its own intrinsics, run on the software device and compared with plain C. */
#include "runtime/jit/compiler.h"
#include "runtime/softgpu/machine/machine.h"
#include "runtime/softgpu/op/numeric.h"

#include <fenv.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { THREADS = 2048, OUTPUTS = 32 };
static _Alignas(256) uint32_t in[THREADS * 3], out[THREADS * OUTPUTS];
static struct str ptx, cubin;

static uint64_t state = 0x853c49e6748fea9bull;
static uint64_t draw(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * 0x2545f4914f6cdd1dull;
}

typedef uint32_t word;
typedef word want_fn(word a, word b, word c);
struct output {
    const char *name;
    want_fn *want;
};

/* ---- integers ---- */
typedef int64_t part_fn(int64_t x, int64_t y);
static word each_part(word a, word b, int bits, bool sign, part_fn *f) {
    word r = 0;
    for (int at = 0; at < 32; at += bits) {
        const uint32_t mask = (1u << bits) - 1;
        int64_t x = a >> at & mask, y = b >> at & mask;
        if (sign) {
            x -= x >> (bits - 1) ? 1ll << bits : 0;
            y -= y >> (bits - 1) ? 1ll << bits : 0;
        }
        r |= ((word)f(x, y) & mask) << at;
    }
    return r;
}
static int64_t sum(int64_t x, int64_t y) {
    return x + y;
}
static int64_t difference(int64_t x, int64_t y) {
    return x - y;
}
static int64_t clamped_sum(int64_t x, int64_t y) {
    return x + y > 127 ? 127 : x + y < -128 ? -128 : x + y;
}
static int64_t distance(int64_t x, int64_t y) {
    return llabs(x - y);
}
static int64_t greater(int64_t x, int64_t y) {
    return x > y ? x : y;
}
static int64_t smaller(int64_t x, int64_t y) {
    return x < y ? x : y;
}
static int64_t average(int64_t x, int64_t y) {
    return (x + y + 1) / 2;
}
static int64_t is_greater(int64_t x, int64_t y) {
    return x > y ? -1 : 0;
}
static word vadd4(word a, word b, word c) {
    (void)c;
    return each_part(a, b, 8, false, sum);
}
static word vsub4(word a, word b, word c) {
    (void)c;
    return each_part(a, b, 8, false, difference);
}
static word vaddss4(word a, word b, word c) {
    (void)c;
    return each_part(a, b, 8, true, clamped_sum);
}
static word vabsdiffu4(word a, word b, word c) {
    (void)c;
    return each_part(a, b, 8, false, distance);
}
static word vmaxs4(word a, word b, word c) {
    (void)c;
    return each_part(a, b, 8, true, greater);
}
static word vavgu4(word a, word b, word c) {
    (void)c;
    return each_part(a, b, 8, false, average);
}
static word vcmpgtu4(word a, word b, word c) {
    (void)c;
    return each_part(a, b, 8, false, is_greater);
}
static word vsadu4(word a, word b, word c) {
    const word d = vabsdiffu4(a, b, c);
    return (d & 255) + (d >> 8 & 255) + (d >> 16 & 255) + (d >> 24);
}
static word vadd2(word a, word b, word c) {
    (void)c;
    return each_part(a, b, 16, false, sum);
}
static word vmins2(word a, word b, word c) {
    (void)c;
    return each_part(a, b, 16, true, smaller);
}
static word shift_left(word a, word b, word c) {
    return (word)(((uint64_t)b << 32 | a) << (c & 31) >> 32);
}
static word shift_right(word a, word b, word c) {
    return (word)(((uint64_t)b << 32 | a) >> (c < 32 ? c : 32));
}
static word byte_perm(word a, word b, word c) {
    const uint64_t pair = (uint64_t)b << 32 | a;
    word r = 0;
    for (int k = 0; k < 4; k++)
        r |= (word)(pair >> (8 * (c >> (4 * k) & 7)) & 255) << (8 * k);
    return r;
}
static word counts(word a, word b, word c) {
    return (word)__builtin_popcount(a) + 100 * (word)__builtin_ffs((int)b) + 10000 * (word)(c ? __builtin_clz(c) : 32);
}
static uint64_t reversed(uint64_t x, int bits) {
    uint64_t r = 0;
    for (int k = 0; k < bits; k++)
        r |= (x >> k & 1) << (bits - 1 - k);
    return r;
}
static word brev_word(word a, word b, word c) {
    (void)b, (void)c;
    return (word)reversed(a, 32);
}
static word brev_wide(word a, word b, word c) {
    (void)c;
    return (word)(reversed((uint64_t)a << 32 | b, 64) >> 7);
}
static word umulhi(word a, word b, word c) {
    (void)c;
    return (word)((uint64_t)a * b >> 32);
}
static word mulhi(word a, word b, word c) {
    (void)c;
    return (word)((int64_t)(int32_t)a * (int32_t)b >> 32);
}
static word umul64hi(word a, word b, word c) {
    return (word)((unsigned __int128)((uint64_t)a << 32 | b) * ((uint64_t)c << 32 | b) >> 64);
}
static word mul24(word a, word b, word c) {
    (void)c;
    return (word)((int64_t)((int32_t)(a << 8) >> 8) * ((int32_t)(b << 8) >> 8));
}
static word usad(word a, word b, word c) {
    return (a > b ? a - b : b - a) + c;
}
static word dot4(word a, word b, word c) {
    for (int k = 0; k < 32; k += 8)
        c += (word)((int8_t)(a >> k) * (int8_t)(b >> k));
    return c;
}
static word dot2(word a, word b, word c) {
    return c + (a & 65535) * (b >> 16 & 255) + (a >> 16) * (b >> 24);
}
static word divide(word a, word b, word c) {
    return (word)(((uint64_t)a << 32 | b) / (c | 1));
}
static word remainder_signed(word a, word b, word c) {
    const int64_t d = (int32_t)(c | 1);
    return d == -1 ? 0 : (word)((int64_t)((uint64_t)a << 32 | b) % d);
}
static word divide_128(word a, word b, word c) {
    const uint64_t ab = (uint64_t)a << 32 | b, cb = (uint64_t)c << 32 | b;
    return (word)(((unsigned __int128)ab * cb / (ab | 1)) >> 3);
}
static word divide_small(word a, word b, word c) {
    return a / (b | 1) + c % 1000;
}
static word shift_wide(word a, word b, word c) {
    return (word)((int64_t)((uint64_t)a << 32 | b) >> (c & 63));
}
static word narrow(word a, word b, word c) {
    return (word)((int16_t)a * (int16_t)b) + (word)(int8_t)c;
}
static word nth_set(word a, word b, word c) {
    const int offset = (int)(c % 9) - 4;
    int left = abs(offset), at = (int)(b & 31);
    if (offset == 0)
        return a >> at & 1 ? (word)at : ~0u;
    for (; at >= 0 && at<32; at += offset> 0 ? 1 : -1)
        if (a >> at & 1 && --left == 0)
            return (word)at;
    return ~0u;
}
static word middle(word a, word b, word c) {
    const int32_t most = (int32_t)b > (int32_t)c ? (int32_t)b : (int32_t)c;
    return (word)((int32_t)a < most ? (int32_t)a : most);
}
static word rhadd(word a, word b, word c) {
    (void)c;
    return (word)(((int64_t)(int32_t)a + (int32_t)b + 1) >> 1);
}
static const struct output integer_outputs[OUTPUTS] = {
    {"__vadd4", vadd4},
    {"__vsub4", vsub4},
    {"__vaddss4", vaddss4},
    {"__vabsdiffu4", vabsdiffu4},
    {"__vmaxs4", vmaxs4},
    {"__vavgu4", vavgu4},
    {"__vcmpgtu4", vcmpgtu4},
    {"__vsadu4", vsadu4},
    {"__vadd2", vadd2},
    {"__vmins2", vmins2},
    {"__funnelshift_l", shift_left},
    {"__funnelshift_rc", shift_right},
    {"__byte_perm", byte_perm},
    {"__popc, __ffs, __clz", counts},
    {"__brev", brev_word},
    {"__brevll", brev_wide},
    {"__umulhi", umulhi},
    {"__mulhi", mulhi},
    {"__umul64hi", umul64hi},
    {"__mul24", mul24},
    {"__usad", usad},
    {"__dp4a", dot4},
    {"__dp2a_hi", dot2},
    {"64-bit division", divide},
    {"64-bit remainder", remainder_signed},
    {"128-bit division", divide_128},
    {"32-bit division", divide_small},
    {"64-bit shift", shift_wide},
    {"short product", narrow},
    {"__fns", nth_set},
    {"min, max", middle},
    {"__rhadd", rhadd},
};

/* ---- floats: the host's, with its rounding mode changed where the intrinsic asks for one ---- */
static float rounded(int mode, char op, float x, float y, float z) {
    volatile float a = x, b = y, c = z, r;
    fesetround(mode);
    r = op == '+' ? a + b : op == '*' ? a * b : op == '/' ? a / b : fmaf(a, b, c);
    fesetround(FE_TONEAREST);
    return r;
}
static word canonical(float x) {
    return x == x ? f32_bits(x) : F32_NAN;
}
static double double_of(word high, word low) {
    return f64_of((uint64_t)high << 32 | low);
}
static word add_rz(word a, word b, word c) {
    (void)c;
    return canonical(rounded(FE_TOWARDZERO, '+', f32_of(a), f32_of(b), 0));
}
static word mul_ru(word a, word b, word c) {
    (void)c;
    return canonical(rounded(FE_UPWARD, '*', f32_of(a), f32_of(b), 0));
}
static word fma_rd(word a, word b, word c) {
    return canonical(rounded(FE_DOWNWARD, 'f', f32_of(a), f32_of(b), f32_of(c)));
}
static word div_rn(word a, word b, word c) {
    (void)c;
    return canonical(f32_of(a) / f32_of(b));
}
static word sqrt_rn(word a, word b, word c) {
    (void)b, (void)c;
    return canonical(sqrtf(f32_of(a)));
}
static word rint_single(word a, word b, word c) {
    (void)b, (void)c;
    return canonical(rintf(f32_of(a)));
}
static int64_t clamp(double x, double low, double high) {
    return x != x ? 0 : (int64_t)(x < low ? low : x > high ? high : x);
}
static word to_int(word a, word b, word c) {
    (void)b, (void)c;
    return (word)clamp(rint(f32_of(a)), INT32_MIN, INT32_MAX);
}
static word to_uint(word a, word b, word c) {
    (void)b, (void)c;
    return (word)clamp(trunc(f32_of(a)), 0, UINT32_MAX);
}
static word from_int(word a, word b, word c) {
    (void)b, (void)c;
    volatile double x = (int32_t)a;
    fesetround(FE_TOWARDZERO);
    volatile float r = (float)x;
    fesetround(FE_TONEAREST);
    return f32_bits(r);
}
static word from_wide(word a, word b, word c) {
    (void)c;
    return f32_bits((float)((uint64_t)a << 32 | b));
}
static word double_add(word a, word b, word c) {
    const double x = double_of(a, b) + double_of(b, c);
    return (word)(f64_bits(x) >> 32);
}
static word double_mul(word a, word b, word c) {
    volatile double x = double_of(a, b), y = double_of(b, c);
    fesetround(FE_UPWARD);
    volatile double r = x * y;
    fesetround(FE_TONEAREST);
    return (word)f64_bits(r);
}
static word double_div(word a, word b, word c) {
    return (word)f64_bits(double_of(a, b) / double_of(b, c));
}
static word double_int(word a, word b, word c) {
    (void)c;
    const double x = double_of(a, b);
    return x != x ? 0x80000000u : (word)clamp(trunc(x), INT32_MIN, INT32_MAX);
}
static word comparisons(word a, word b, word c) {
    const float x = f32_of(a), y = f32_of(b);
    return (double_of(a, b) < double_of(b, c)) + 2 * !(x >= y) + 4 * (x != y);
}
/* op on both halves: exact in 128 bits but for sums that reach further, where only the sign of the rest matters. */
static word halves(word a, word b, word c, const struct float_format *f, char op) {
    word r = 0;
    for (int k = 0; k < 32; k += 16) {
        const double x = float_to_double(f, a >> k & 65535), y = float_to_double(f, b >> k & 65535);
        double z = float_to_double(f, c >> k & 65535);
        const double p = x * y;
        if (z != 0 && isfinite(p) && fabs(z) < fabs(p) * 0x1p-80)
            z = copysign(fabs(p) * 0x1p-80, z);
        const __float128 exact = op == '+' ? (__float128)x + y : op == '*' ? (__float128)x * y : (__float128)x * y + z;
        double d = (double)exact;
        if (isfinite(d) && (__float128)d != exact && !(f64_bits(d) & 1))
            d = f64_of(f64_bits(d) + ((exact > d) == (d > 0) ? 1 : ~0ull));
        r |= (word)float_from_double(f, d, RND_RN, false) << k;
    }
    return r;
}
static word half_add(word a, word b, word c) {
    return halves(a, b, c, &format_f16, '+');
}
static word half_mul(word a, word b, word c) {
    return halves(a, b, c, &format_f16, '*');
}
static word half_fma(word a, word b, word c) {
    return halves(a, b, c, &format_f16, 'f');
}
static word bf16_fma(word a, word b, word c) {
    return halves(a, b, c, &format_bf16, 'f');
}
static word pack_half(word a, word b, word c) {
    (void)c;
    return (word)float_from_double(&format_f16, f32_of(a), RND_RN, false) |
           (word)float_from_double(&format_f16, f32_of(b), RND_RN, false) << 16;
}
static word pack_bf16(word a, word b, word c) {
    (void)c;
    return (word)float_from_double(&format_bf16, f32_of(a), RND_RN, false) |
           (word)float_from_double(&format_bf16, f32_of(b), RND_RN, false) << 16;
}
static word widen(word a, word b, word c) {
    (void)b, (void)c;
    return canonical((float)float_to_double(&format_f16, a & 65535));
}
static word half_int(word a, word b, word c) {
    (void)b, (void)c;
    return (word)clamp(rint(float_to_double(&format_f16, a & 65535)), INT32_MIN, INT32_MAX);
}
static word half_rz(word a, word b, word c) {
    (void)b, (void)c;
    return (word)float_from_double(&format_f16, f32_of(a), RND_RZ, false);
}
static const struct output float_outputs[OUTPUTS] = {
    {"__fadd_rz", add_rz},
    {"__fmul_ru", mul_ru},
    {"__fmaf_rd", fma_rd},
    {"__fdiv_rn", div_rn},
    {"__fsqrt_rn", sqrt_rn},
    {"rintf", rint_single},
    {"__float2int_rn", to_int},
    {"__float2uint_rz", to_uint},
    {"__int2float_rz", from_int},
    {"__ull2float_rn", from_wide},
    {"__dadd_rn", double_add},
    {"__dmul_ru", double_mul},
    {"double division", double_div},
    {"__double2int_rz", double_int},
    {"comparisons", comparisons},
    {"__hadd2", half_add},
    {"__hmul2", half_mul},
    {"__hfma2", half_fma},
    {"__hfma2 bf16", bf16_fma},
    {"__floats2half2_rn", pack_half},
    {"__floats2bfloat162_rn", pack_bf16},
    {"__low2float", widen},
    {"__half2int_rn", half_int},
    {"__float2half_rz", half_rz},
};

/* ---- the run ---- */
static void randomise(bool keep_doubles_finite) {
    static const word special[] = {0,          0x80000000, 0x3f800000, 0x7f800000, 0xff800000, 1,
                                   0x807fffff, 0x00800000, 0x7f7fffff, 0x3c003c00, 0x7bfffbff, 0x00010001,
                                   0x7fffffff, ~0u,        0x7c00fc00, 0x42280000};
    for (int k = 0; k < 3 * THREADS; k++) {
        const uint64_t x = draw();
        in[k] = x % 5 == 0 ? special[x >> 20 & 15] : (word)(x >> 32);
        if (x % 5 == 1) /* numbers near one another */
            in[k] = (in[k] & 0x807fffffu) | (uint32_t)(110 + x % 40) << 23;
        if (keep_doubles_finite && (in[k] & 0x7ff00000u) == 0x7ff00000u)
            in[k] &= 0xbfffffffu; /* the payload of a double's NaN is nobody's promise */
    }
}

static void run(const char *name, const struct output *outputs, bool floats) {
    char error[512];
    struct sg_fault fault = {0};
    if (!ptx.length) {
        print_message("no NVRTC: skipped\n");
        skip();
    }
    struct sg_module *module = sg_module_parse(ptx.data, strlen(ptx.data), error, sizeof error);
    if (!module)
        fail_msg("%s", error);
    const struct {
        void *in, *out;
        int n;
    } params = {in, out, THREADS};
    struct sg_alloc alloc[2] = {{.base = (uintptr_t)in, .size = sizeof in, .id = 1},
                                {.base = (uintptr_t)out, .size = sizeof out, .id = 2}};
    if (alloc[0].base > alloc[1].base) {
        const struct sg_alloc first = alloc[1];
        alloc[1] = alloc[0];
        alloc[0] = first;
    }
    const struct sg_memory memory = {alloc, 2};
    const struct sg_launch launch = {.function = sg_module_function(module, name),
                                     .params = &params,
                                     .grid = {THREADS / 128, 1, 1},
                                     .block = {128, 1, 1},
                                     .cluster = {1, 1, 1},
                                     .memory = &memory,
                                     .host_threads = 1,
                                     .resident_ctas = 1,
                                     .sm_count = 108,
                                     .seed = 5,
                                     .checks = SG_CHECKS_ALL};
    randomise(floats);
    if (!sg_run(&launch, NULL, &fault))
        fail_msg("%s", fault.text);
    for (int t = 0; t < THREADS; t++)
        for (int k = 0; k < OUTPUTS && outputs[k].want; k++) {
            const word *x = in + 3 * t, want = outputs[k].want(x[0], x[1], x[2]);
            if (out[t * OUTPUTS + k] != want)
                fail_msg("%s of %08x, %08x, %08x: %08x, not %08x", outputs[k].name, x[0], x[1], x[2],
                         out[t * OUTPUTS + k], want);
        }
    sg_module_free(module);
}

static void integer_intrinsics(void **unused) {
    (void)unused;
    run("integers", integer_outputs, false);
}

static void float_intrinsics(void **unused) {
    (void)unused;
    run("floats", float_outputs, true);
}

static int compile(void **unused) {
    (void)unused;
    const char *home = getenv("CUDA_HOME");
    char include[512];
    static char source[1 << 16];
    snprintf(include, sizeof include, "-I%s/include", home && *home ? home : "/usr/local/cuda");
    const char *const options[] = {include, "--device-int128", "--fmad=false"};
    FILE *file = fopen(MT_SOURCE_DIR "/tests/device/intrinsics.cu", "r");
    if (!file)
        return -1;
    source[fread(source, 1, sizeof source - 1, file)] = 0;
    fclose(file);
    const enum mt_status status = compiler_run("intrinsics.cu", source, "sm_80", options, 3, &cubin, &ptx, NULL);
    if (status && status != MT_NO_DEVICE)
        print_error("%s\n", fail_message());
    return status && status != MT_NO_DEVICE ? -1 : 0;
}

static int release(void **unused) {
    (void)unused;
    str_release(&ptx);
    str_release(&cubin);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(integer_intrinsics), cmocka_unit_test(float_intrinsics)};
    return cmocka_run_group_tests(tests, compile, release);
}
