#include "yield.h"
#include "cubin.h"
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* An instruction of sm_70 to sm_90 is 16 bytes, little-endian. Of its lower half: the opcode. Of its upper half: how
 * many clocks the warp waits after it; whether it stays the scheduler's choice; which operands are kept for the next
 * one. As seen in what ptxas writes; the names are those of public assemblers for these architectures. */
enum { INSTRUCTION = 16, OPCODE = 0xfff, FFMA = 0x223 };
static const uint64_t stall = 15ull << 41, stall_of_one = 1ull << 41, stays = 1ull << 45, reuse = 15ull << 58;

/* Only where the next instruction could follow at once: elsewhere others go first anyway. What is kept for a next
 * instruction is lost when another warp comes between. */
static void mark_code(void *context, void *code, size_t size) {
    int *marked = context, run = 0;
    for (unsigned char *at = code, *end = at + size / INSTRUCTION * INSTRUCTION; at < end; at += INSTRUCTION) {
        uint64_t lower, upper;
        memcpy(&lower, at, sizeof lower);
        memcpy(&upper, at + sizeof lower, sizeof upper);
        run = (lower & OPCODE) == FFMA ? run + 1 : 0;
        if (run == 0 || run % 2 || (upper & stall) != stall_of_one || !(upper & stays))
            continue;
        upper &= ~(stays | reuse);
        memcpy(at + sizeof lower, &upper, sizeof upper);
        ++*marked;
    }
}

enum mt_status yield_between_ffma(void *cubin, size_t size, int *marked) {
    *marked = 0;
    return cubin_visit_code(cubin, size, mark_code, marked);
}
