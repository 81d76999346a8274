/* What a split costs, what others tell of it, and how it is filled. */
#include "runtime/layer/quant.h"
#include "runtime/layer/split.h"
#include "templates/gemm_args.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
/* after the above */
#include <cmocka.h>

static size_t bytes_of(const struct quant_layer *layer, const struct problem *p) {
    size_t bytes = 0;
    for (int i = 0; i < MT_PARTS; i++) {
        const struct quant_part *part = &layer->part[i];
        bytes += (size_t)part->padded_rows * (size_t)layer->k_padded * (size_t)part->bits / 8;
        bytes += (size_t)part->padded_rows * (size_t)layer->groups * (i == MT_PART_W4 && !p->symmetric ? 3 : 2);
    }
    return bytes;
}

/* By the parts of a layer that is there. */
static void bytes_are_those_of_the_parts(void **state) {
    (void)state;
    static const int groups[] = {64, 128, 256};
    srand48(5);
    for (int i = 0; i < 100; i++) {
        struct problem p = {.m = 1,
                            .n = 1 + (int)(lrand48() % 200),
                            .k = 1 + (int)(lrand48() % 600),
                            .group = groups[i % 3],
                            .symmetric = i % 2};
        p.rows8 = (int)(lrand48() % (p.n + 1));
        struct quant_layer layer;
        assert_int_equal(quant_layer_random(&layer, &p, 1), MT_OK);
        assert_int_equal(split_bytes(&p), bytes_of(&layer, &p));
        quant_layer_release(&layer);
    }
}

static void estimates_are_linear_in_bytes(void **state) {
    (void)state;
    struct problem p = {.m = 1, .n = 4096, .k = 4096, .group = 128, .rows8 = 800};
    const struct split_time none = {0, 0}, low = {320, 1000}, high = {1280, 1600};
    assert_true(fabs(split_estimate(&p, low, high, 0) - 1300) < 1e-9); /* 800 is half way, and padding the same */
    p.rows8 = 320;
    assert_true(fabs(split_estimate(&p, low, high, 0) - 1000) < 1e-9);
    p.rows8 = 1280;
    assert_true(fabs(split_estimate(&p, low, high, 0) - 1600) < 1e-9);
    /* One time: in proportion. W8 is 8.125 bits of a weight, W4 4.1875. */
    p.rows8 = 4096;
    assert_true(fabs(split_estimate(&p, (struct split_time){0, 1000}, none, 0) - 1000 * 8.125 / 4.1875) < 1e-9);
    assert_true(fabs(split_estimate(&p, none, (struct split_time){0, 1000}, 0) - 1000 * 8.125 / 4.1875) < 1e-9);
    p.symmetric = true, p.rows8 = 0;
    assert_true(fabs(split_estimate(&p, none, (struct split_time){4096, 1000}, 0) - 1000 * 4.125 / 8.125) < 1e-9);
    /* What every launch takes does not shrink with the bytes; what took less than that does not change. */
    assert_true(fabs(split_estimate(&p, none, (struct split_time){4096, 1000}, 400) - (400 + 600 * 4.125 / 8.125)) <
                1e-9);
    assert_true(split_estimate(&p, (struct split_time){0, 300}, none, 400) == 300);
    assert_true(split_estimate(&p, none, none, 0) == 0);
    assert_true(split_estimate(&p, (struct split_time){0, 7}, (struct split_time){0, 9}, 0) == 7);
}

static void parts_are_filled(void **state) {
    (void)state;
    assert_int_equal(split_filled(0, 4096, 16), 0); /* a pure layer stays pure */
    assert_int_equal(split_filled(1, 4096, 16), 16);
    assert_int_equal(split_filled(16, 4096, 16), 16);
    assert_int_equal(split_filled(17, 4096, 16), 32);
    assert_int_equal(split_filled(4090, 4096, 16), 4096);
    assert_int_equal(split_filled(98, 100, 16), 100); /* no more than there are */
    assert_int_equal(split_filled(17, 4096, 1), 17);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(bytes_are_those_of_the_parts),
                                       cmocka_unit_test(estimates_are_linear_in_bytes),
                                       cmocka_unit_test(parts_are_filled)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
