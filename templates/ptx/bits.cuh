// Logic. PTX ISA "lop3".
#pragma once

// (word & mask) ^ flip, in one instruction. Of the same in C++ with two constants ptxas makes two.
__device__ __forceinline__ unsigned masked_and_flipped(unsigned word, unsigned mask, unsigned flip) {
    unsigned result;
    asm("lop3.b32 %0, %1, %2, %3, 0x6a;" : "=r"(result) : "r"(word), "r"(mask), "r"(flip));
    return result;
}
