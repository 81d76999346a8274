// Tensor-core multiplications of one warp group (4 warps): PTX ISA "Asynchronous Warpgroup Level Matrix Multiply-Accumulate". sm_90a.
//
// D[64 x N] += A[64 x 32] . B[32 x N] on int32. A is the weights, in registers: warp w of the group holds features 16 w .. 16 w + 15 in the
// fragment layout of m16n8k32. B is the tokens, in shared memory. D: like m16n8k32 fragments side by side, N / 8 of them.
#pragma once

#include "copy.cuh"

__device__ __forceinline__ void wgmma_commit() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int Pending> __device__ __forceinline__ void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
}

// Volatile assembly keeps its order among its like only: the compiler is free to move what reads or writes a register of wgmma, down to a
// plain move, past a fence or a wait. These hold a register, or an array of them, where they stand.
__device__ __forceinline__ void wgmma_settled(int &accumulator) {
    asm volatile("" : "+r"(accumulator));
}
__device__ __forceinline__ void wgmma_settled(uint &word) {
    asm volatile("" : "+r"(word));
}
template <class T, int Count> __device__ __forceinline__ void wgmma_settled(T (&registers)[Count]) {
#pragma unroll
    for (int i = 0; i < Count; i++)
        wgmma_settled(registers[i]);
}

// Before wgmma that use these registers: accumulators and fragments of A. All that was written to them has been when the fence comes.
template <class... Registers> __device__ __forceinline__ void wgmma_fence(Registers &...registers) {
    (wgmma_settled(registers), ...);
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

// setmaxnreg: registers of this warp group from here on. The kernel's launch bounds fix what there is to share.
template <int Count> __device__ __forceinline__ void registers_release() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Count));
}
template <int Count> __device__ __forceinline__ void registers_take() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Count));
}

// Descriptor of a K-major tile of 128-byte rows with 128-byte swizzle (1024-byte aligned): groups of 8 rows lie 1024 bytes apart. The next
// 32 bytes along K are at descriptor + 2. PTX ISA "Matrix Descriptor Format".
__device__ __forceinline__ unsigned long long wgmma_rows128(uint address, uint offset) {
    return static_cast<unsigned long long>(1u << 30 | 64) << 32 | ((1u << 16 | address >> 4) + offset / 16);
}

// The numbers of asm operands cannot be computed, so the read-only operands stand first, as in-outs, and the accumulators follow at %6:
// WGMMA_NAMES_n names n of them and WGMMA_REGISTERS_n binds them.
#define WGMMA_NAMES_4 "%6, %7, %8, %9"
#define WGMMA_NAMES_8 WGMMA_NAMES_4 ", " "%10, %11, %12, %13"
#define WGMMA_NAMES_12 WGMMA_NAMES_8 ", " "%14, %15, %16, %17"
#define WGMMA_NAMES_16 WGMMA_NAMES_12 ", " "%18, %19, %20, %21"
#define WGMMA_NAMES_20 WGMMA_NAMES_16 ", " "%22, %23, %24, %25"
#define WGMMA_NAMES_24 WGMMA_NAMES_20 ", " "%26, %27, %28, %29"
#define WGMMA_NAMES_28 WGMMA_NAMES_24 ", " "%30, %31, %32, %33"
#define WGMMA_NAMES_32 WGMMA_NAMES_28 ", " "%34, %35, %36, %37"
#define WGMMA_NAMES_36 WGMMA_NAMES_32 ", " "%38, %39, %40, %41"
#define WGMMA_NAMES_40 WGMMA_NAMES_36 ", " "%42, %43, %44, %45"
#define WGMMA_NAMES_44 WGMMA_NAMES_40 ", " "%46, %47, %48, %49"
#define WGMMA_NAMES_48 WGMMA_NAMES_44 ", " "%50, %51, %52, %53"
#define WGMMA_NAMES_52 WGMMA_NAMES_48 ", " "%54, %55, %56, %57"
#define WGMMA_NAMES_56 WGMMA_NAMES_52 ", " "%58, %59, %60, %61"
#define WGMMA_NAMES_60 WGMMA_NAMES_56 ", " "%62, %63, %64, %65"
#define WGMMA_NAMES_64 WGMMA_NAMES_60 ", " "%66, %67, %68, %69"
#define WGMMA_NAMES_68 WGMMA_NAMES_64 ", " "%70, %71, %72, %73"
#define WGMMA_NAMES_72 WGMMA_NAMES_68 ", " "%74, %75, %76, %77"
#define WGMMA_NAMES_76 WGMMA_NAMES_72 ", " "%78, %79, %80, %81"
#define WGMMA_NAMES_80 WGMMA_NAMES_76 ", " "%82, %83, %84, %85"
#define WGMMA_NAMES_84 WGMMA_NAMES_80 ", " "%86, %87, %88, %89"
#define WGMMA_NAMES_88 WGMMA_NAMES_84 ", " "%90, %91, %92, %93"
#define WGMMA_NAMES_92 WGMMA_NAMES_88 ", " "%94, %95, %96, %97"
#define WGMMA_NAMES_96 WGMMA_NAMES_92 ", " "%98, %99, %100, %101"
#define WGMMA_NAMES_100 WGMMA_NAMES_96 ", " "%102, %103, %104, %105"
#define WGMMA_NAMES_104 WGMMA_NAMES_100 ", " "%106, %107, %108, %109"
#define WGMMA_NAMES_108 WGMMA_NAMES_104 ", " "%110, %111, %112, %113"
#define WGMMA_NAMES_112 WGMMA_NAMES_108 ", " "%114, %115, %116, %117"
#define WGMMA_NAMES_116 WGMMA_NAMES_112 ", " "%118, %119, %120, %121"
#define WGMMA_NAMES_120 WGMMA_NAMES_116 ", " "%122, %123, %124, %125"
#define WGMMA_NAMES_124 WGMMA_NAMES_120 ", " "%126, %127, %128, %129"
#define WGMMA_NAMES_128 WGMMA_NAMES_124 ", " "%130, %131, %132, %133"
#define WGMMA_REGISTERS_4 "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
#define WGMMA_REGISTERS_8 WGMMA_REGISTERS_4, "+r"(d[4]), "+r"(d[5]), "+r"(d[6]), "+r"(d[7])
#define WGMMA_REGISTERS_12 WGMMA_REGISTERS_8, "+r"(d[8]), "+r"(d[9]), "+r"(d[10]), "+r"(d[11])
#define WGMMA_REGISTERS_16 WGMMA_REGISTERS_12, "+r"(d[12]), "+r"(d[13]), "+r"(d[14]), "+r"(d[15])
#define WGMMA_REGISTERS_20 WGMMA_REGISTERS_16, "+r"(d[16]), "+r"(d[17]), "+r"(d[18]), "+r"(d[19])
#define WGMMA_REGISTERS_24 WGMMA_REGISTERS_20, "+r"(d[20]), "+r"(d[21]), "+r"(d[22]), "+r"(d[23])
#define WGMMA_REGISTERS_28 WGMMA_REGISTERS_24, "+r"(d[24]), "+r"(d[25]), "+r"(d[26]), "+r"(d[27])
#define WGMMA_REGISTERS_32 WGMMA_REGISTERS_28, "+r"(d[28]), "+r"(d[29]), "+r"(d[30]), "+r"(d[31])
#define WGMMA_REGISTERS_36 WGMMA_REGISTERS_32, "+r"(d[32]), "+r"(d[33]), "+r"(d[34]), "+r"(d[35])
#define WGMMA_REGISTERS_40 WGMMA_REGISTERS_36, "+r"(d[36]), "+r"(d[37]), "+r"(d[38]), "+r"(d[39])
#define WGMMA_REGISTERS_44 WGMMA_REGISTERS_40, "+r"(d[40]), "+r"(d[41]), "+r"(d[42]), "+r"(d[43])
#define WGMMA_REGISTERS_48 WGMMA_REGISTERS_44, "+r"(d[44]), "+r"(d[45]), "+r"(d[46]), "+r"(d[47])
#define WGMMA_REGISTERS_52 WGMMA_REGISTERS_48, "+r"(d[48]), "+r"(d[49]), "+r"(d[50]), "+r"(d[51])
#define WGMMA_REGISTERS_56 WGMMA_REGISTERS_52, "+r"(d[52]), "+r"(d[53]), "+r"(d[54]), "+r"(d[55])
#define WGMMA_REGISTERS_60 WGMMA_REGISTERS_56, "+r"(d[56]), "+r"(d[57]), "+r"(d[58]), "+r"(d[59])
#define WGMMA_REGISTERS_64 WGMMA_REGISTERS_60, "+r"(d[60]), "+r"(d[61]), "+r"(d[62]), "+r"(d[63])
#define WGMMA_REGISTERS_68 WGMMA_REGISTERS_64, "+r"(d[64]), "+r"(d[65]), "+r"(d[66]), "+r"(d[67])
#define WGMMA_REGISTERS_72 WGMMA_REGISTERS_68, "+r"(d[68]), "+r"(d[69]), "+r"(d[70]), "+r"(d[71])
#define WGMMA_REGISTERS_76 WGMMA_REGISTERS_72, "+r"(d[72]), "+r"(d[73]), "+r"(d[74]), "+r"(d[75])
#define WGMMA_REGISTERS_80 WGMMA_REGISTERS_76, "+r"(d[76]), "+r"(d[77]), "+r"(d[78]), "+r"(d[79])
#define WGMMA_REGISTERS_84 WGMMA_REGISTERS_80, "+r"(d[80]), "+r"(d[81]), "+r"(d[82]), "+r"(d[83])
#define WGMMA_REGISTERS_88 WGMMA_REGISTERS_84, "+r"(d[84]), "+r"(d[85]), "+r"(d[86]), "+r"(d[87])
#define WGMMA_REGISTERS_92 WGMMA_REGISTERS_88, "+r"(d[88]), "+r"(d[89]), "+r"(d[90]), "+r"(d[91])
#define WGMMA_REGISTERS_96 WGMMA_REGISTERS_92, "+r"(d[92]), "+r"(d[93]), "+r"(d[94]), "+r"(d[95])
#define WGMMA_REGISTERS_100 WGMMA_REGISTERS_96, "+r"(d[96]), "+r"(d[97]), "+r"(d[98]), "+r"(d[99])
#define WGMMA_REGISTERS_104 WGMMA_REGISTERS_100, "+r"(d[100]), "+r"(d[101]), "+r"(d[102]), "+r"(d[103])
#define WGMMA_REGISTERS_108 WGMMA_REGISTERS_104, "+r"(d[104]), "+r"(d[105]), "+r"(d[106]), "+r"(d[107])
#define WGMMA_REGISTERS_112 WGMMA_REGISTERS_108, "+r"(d[108]), "+r"(d[109]), "+r"(d[110]), "+r"(d[111])
#define WGMMA_REGISTERS_116 WGMMA_REGISTERS_112, "+r"(d[112]), "+r"(d[113]), "+r"(d[114]), "+r"(d[115])
#define WGMMA_REGISTERS_120 WGMMA_REGISTERS_116, "+r"(d[116]), "+r"(d[117]), "+r"(d[118]), "+r"(d[119])
#define WGMMA_REGISTERS_124 WGMMA_REGISTERS_120, "+r"(d[120]), "+r"(d[121]), "+r"(d[122]), "+r"(d[123])
#define WGMMA_REGISTERS_128 WGMMA_REGISTERS_124, "+r"(d[124]), "+r"(d[125]), "+r"(d[126]), "+r"(d[127])

#define WGMMA_ASM(N, R, TYPE)                                                                                                          \
    asm volatile("{\n"                                                                                                                 \
                 ".reg .pred accumulate;\n"                                                                                            \
                 "setp.ne.b32 accumulate, %5, 0;\n"                                                                                    \
                 "wgmma.mma_async.sync.aligned.m64n" #N "k32.s32." TYPE ".s8 {" WGMMA_NAMES_##R                                        \
                 "}, {%0, %1, %2, %3}, %4, accumulate;\n"                                                                              \
                 "}"                                                                                                                   \
                 : "+r"(a[0]), "+r"(a[1]), "+r"(a[2]), "+r"(a[3]), "+l"(b), "+r"(accumulate), WGMMA_REGISTERS_##R)
#define WGMMA_CASE(N, R)                                                                                                               \
    if constexpr (Tokens == N) {                                                                                                       \
        if constexpr (WeightsUnsigned)                                                                                                 \
            WGMMA_ASM(N, R, "u8");                                                                                                     \
        else                                                                                                                           \
            WGMMA_ASM(N, R, "s8");                                                                                                     \
    }

// Tokens: 8, 16, 24, 32, then multiples of 16 to 256, as s8 wgmma has them. accumulate = 0: D = A . B.
template <int Tokens, bool WeightsUnsigned>
__device__ __forceinline__ void wgmma_m64k32(int (&d)[Tokens / 2], uint (&a)[4], unsigned long long b, int accumulate) {
    static_assert(Tokens == 8 || Tokens == 24 || (Tokens % 16 == 0 && Tokens <= 256), "s8 wgmma has no such N");
    WGMMA_CASE(8, 4)
    WGMMA_CASE(16, 8)
    WGMMA_CASE(24, 12)
    WGMMA_CASE(32, 16)
    WGMMA_CASE(48, 24)
    WGMMA_CASE(64, 32)
    WGMMA_CASE(80, 40)
    WGMMA_CASE(96, 48)
    WGMMA_CASE(112, 56)
    WGMMA_CASE(128, 64)
    WGMMA_CASE(144, 72)
    WGMMA_CASE(160, 80)
    WGMMA_CASE(176, 88)
    WGMMA_CASE(192, 96)
    WGMMA_CASE(208, 104)
    WGMMA_CASE(224, 112)
    WGMMA_CASE(240, 120)
    WGMMA_CASE(256, 128)
}

#undef WGMMA_CASE
#undef WGMMA_ASM
