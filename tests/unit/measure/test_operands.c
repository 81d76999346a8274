/* Which buffers a launch gets at its turn, and the bytes that it moves. */
#include "tuner/measure/operands.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { WEIGHTS = 0x1000, SCALES = 0x2000, TOKENS = 0x3000, OUTPUT = 0x4000, SUMS = 0x5000, STEP = 0x10 };

static void number(struct copies *copies, CUdeviceptr first) {
    for (int i = 0; i < OPERAND_SETS; i++)
        copies->set[i] = first + (CUdeviceptr)(i * STEP);
}

static uintptr_t at(const void *pointer) {
    return (uintptr_t)pointer;
}

/* Four sets of weights and three of tokens. */
static struct operands four_and_three(void) {
    struct operands o = {.quantised = true, .weight_sets = 4, .token_sets = 3};
    o.problem = (struct problem){.m = 5, .n = 64, .k = 256, .group = 128};
    number(&o.weights[MT_PART_W4], WEIGHTS);
    number(&o.weights[0], WEIGHTS);
    number(&o.scales[MT_PART_W4], SCALES);
    number(&o.x, TOKENS);
    number(&o.x_sums, SUMS);
    number(&o.y, OUTPUT);
    return o;
}

/* Weights and tokens rotate each by their own turn: a serving cache keeps the turn of the tokens. */
static void turns_of_weights_and_tokens(void **state) {
    (void)state;
    static struct operands o;
    struct mt_gemm_args args;
    struct mt_gemm_f16_args plain;
    o = four_and_three();
    assert_int_equal(operands_rotation(&o), 4);
    for (int turn = 0; turn < 9; turn++)
        for (int tokens = 0; tokens < 9; tokens++) {
            const uintptr_t set = (uintptr_t)(turn % 4 * STEP), row = (uintptr_t)(tokens % 3 * STEP);
            operands_gemm_args(&o, turn, tokens, &args);
            assert_int_equal(at(args.part[MT_PART_W4].weights), WEIGHTS + set);
            assert_int_equal(at(args.part[MT_PART_W4].scales), SCALES + set);
            assert_int_equal(at(args.x), TOKENS + row);
            assert_int_equal(at(args.x_sums), SUMS + row);
            assert_int_equal(at(args.y), OUTPUT + row);
            operands_f16_args(&o, turn, tokens, &plain);
            assert_int_equal(at(plain.w), WEIGHTS + set);
            assert_int_equal(at(plain.x), TOKENS + row);
            assert_int_equal(at(plain.y), OUTPUT + row);
        }
}

static void bytes_of_a_launch(void **state) {
    (void)state;
    static struct operands o;
    o = four_and_three();
    /* Weights, scales and zero points; codes, scales and sums of two groups; the output. */
    assert_int_equal(operands_traffic(&o), 64 * 256 / 2 + 2 * 64 * 3 + 5 * (256 + 2 * 8) + 5 * 64 * 2);
    /* fp16 in, codes out, padded to 128, and scales and sums of each group. */
    assert_int_equal(quantize_operands_traffic(&o.problem), 5 * (256 * 2 + 256 + 2 * 8));
    o.problem.k = 300;
    assert_int_equal(quantize_operands_traffic(&o.problem), 5 * (300 * 2 + 384 + 3 * 8));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(turns_of_weights_and_tokens),
                                       cmocka_unit_test(bytes_of_a_launch)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
