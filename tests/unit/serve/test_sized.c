/* Structs of callers that are older, or newer, than the library. */
#include "runtime/serve/sized.h"
#include "runtime/serve/table.h"
#include "tests/unit/serve/settled.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

/* Three ages of one struct; the library has the middle one. */
struct older {
    size_t size;
    int a;
    int beyond; /* not of the struct: `size` ends before it */
};
struct own {
    size_t size;
    int a, b;
};
struct newer {
    size_t size;
    int a, b, c;
};
enum { OLDER = offsetof(struct older, beyond) };

static void taking(void **state) {
    (void)state;
    struct own own;
    const struct older older = {OLDER, 1, 77};
    assert_int_equal(sized_take(&own, sizeof own, &older, "x"), MT_OK);
    assert_true(own.size == OLDER && own.a == 1 && own.b == 0);
    const struct own same = {sizeof same, 2, 3};
    assert_int_equal(sized_take(&own, sizeof own, &same, "x"), MT_OK);
    assert_true(own.a == 2 && own.b == 3);
    const struct newer newer = {sizeof newer + 8, 4, 5, 6};
    assert_int_equal(sized_take(&own, sizeof own, &newer, "x"), MT_USAGE);
    assert_string_equal(fail_message(),
                        "a struct x has 32 bytes, and this library knows 16 of them: the program was compiled with the "
                        "mixtune.h of a newer library; use that one");
    const struct own unset = {0, 2, 3};
    assert_int_equal(sized_take(&own, sizeof own, &unset, "x"), MT_USAGE);
    assert_string_equal(fail_message(), "a struct x has no size: set its member size to sizeof(struct x)");
    assert_int_equal(sized_take(&own, sizeof own, NULL, "x"), MT_USAGE);
    assert_string_equal(fail_message(), "the address of a struct x is NULL");
}

static void giving(void **state) {
    (void)state;
    const struct own own = {sizeof own, 1, 2};
    struct older older = {OLDER, 0, 77};
    assert_int_equal(sized_give(&older, &own, sizeof own, "x"), MT_OK);
    assert_true(older.size == OLDER && older.a == 1 && older.beyond == 77);
    assert_int_equal(sized_give(&older, NULL, sizeof own, "x"), MT_OK);
    assert_true(older.size == OLDER && older.a == 0 && older.beyond == 77);
    struct newer newer = {sizeof newer + 8, 4, 5, 6};
    assert_int_equal(sized_give(&newer, &own, sizeof own, "x"), MT_USAGE);
    assert_true(newer.a == 4 && newer.b == 5 && newer.c == 6);
}

/* Every function that takes or fills a struct looks at its size first. */
static void every_struct_is_looked_at(void **state) {
    (void)state;
    struct mt_table table = {0};
    struct mt_layer layer = {.problem = {.n = 1, .k = 1, .group = 128}, .most_tokens = 1, .loaded = true};
    const struct mt_layer *found;
    struct mt_shape shape = {0};
    struct mt_query query = {0};
    struct mt_layer_info info = {0};
    struct mt_choice choice = {0};
    struct mt_packed packed = {0};
    struct mt_weights weights = {0}, good = {.size = sizeof good};
    struct mt_activations acts = {0};
    struct mt_quantize_operands quantize = {0};
    struct mt_gemm_operands gemm = {0};
    assert_int_equal(mt_table_layer_shaped(&table, &shape, &found), MT_USAGE);
    assert_non_null(strstr(mt_error_message(), "a struct mt_shape has no size"));
    assert_int_equal(mt_table_layer_named(&table, &query, &found), MT_USAGE);
    assert_non_null(strstr(mt_error_message(), "a struct mt_query has no size"));
    assert_int_equal(mt_layer_describe(&layer, &info), MT_USAGE);
    assert_non_null(strstr(mt_error_message(), "a struct mt_layer_info has no size"));
    assert_int_equal(mt_table_lookup(&table, &layer, 0, &choice), MT_USAGE);
    assert_non_null(strstr(mt_error_message(), "a struct mt_choice has no size"));
    assert_int_equal(mt_table_lookup(&table, &layer, -1, &choice), MT_USAGE);
    assert_non_null(strstr(mt_error_message(), "a struct mt_choice has no size"));
    assert_int_equal(mt_weights_upload(&table, &packed, &weights), MT_USAGE);
    assert_non_null(strstr(mt_error_message(), "a struct mt_weights has no size"));
    assert_int_equal(mt_weights_upload(&table, &packed, &good), MT_USAGE);
    assert_non_null(strstr(mt_error_message(), "a struct mt_packed has no size"));
    assert_int_equal(mt_quantize_launch(&table, &layer, &quantize, NULL), MT_USAGE);
    assert_non_null(strstr(mt_error_message(), "a struct mt_quantize_operands has no size"));
    assert_int_equal(mt_gemm_launch(&table, &layer, &gemm, NULL), MT_USAGE);
    assert_non_null(strstr(mt_error_message(), "a struct mt_gemm_operands has no size"));
    quantize = (struct mt_quantize_operands){.size = sizeof quantize, .m = 1, .ldx = 1, .x = 256, .out = &acts};
    assert_int_equal(mt_quantize_launch(&table, &layer, &quantize, NULL), MT_USAGE);
    assert_non_null(strstr(mt_error_message(), "a struct mt_activations has no size"));
    gemm = (struct mt_gemm_operands){.size = sizeof gemm, .m = 1, .ldy = 1, .y = 256, .x = &acts, .weights = &weights};
    assert_int_equal(mt_gemm_launch(&table, &layer, &gemm, NULL), MT_USAGE);
    assert_non_null(strstr(mt_error_message(), "a struct mt_activations has no size"));
    acts = (struct mt_activations){sizeof acts, 256, 256, 256};
    assert_int_equal(mt_gemm_launch(&table, &layer, &gemm, NULL), MT_USAGE);
    assert_non_null(strstr(mt_error_message(), "a struct mt_weights has no size"));
    gemm.weights = NULL;
    assert_int_equal(mt_gemm_launch(&table, &layer, &gemm, NULL), MT_USAGE);
    assert_non_null(strstr(mt_error_message(), "the address of a struct mt_weights is NULL"));
    quantize.m = gemm.m = 0;
    settled(mt_quantize_launch(&table, &layer, &quantize, NULL));
    settled(mt_gemm_launch(&table, &layer, &gemm, NULL));
}

/* What stands behind an older caller's struct is neither read nor written. */
static void an_older_caller(void **state) {
    (void)state;
    struct mt_table table = {0};
    const struct mt_layer layer = {.info = {.size = sizeof layer.info, .tp = 3, .n = 5, .layout = MT_LAYOUT}}, *found;
    struct mt_shape shape = {.size = sizeof shape, .n = 5, .k = 6, .group = 128, .symmetric = 1};
    assert_int_equal(mt_table_layer_shaped(&table, &shape, &found), MT_USAGE);
    assert_non_null(strstr(mt_error_message(), "no kernel for w4a8-sym, "));
    shape.size = offsetof(struct mt_shape, symmetric);
    assert_int_equal(mt_table_layer_shaped(&table, &shape, &found), MT_USAGE);
    assert_non_null(strstr(mt_error_message(), "no kernel for w4a8, "));
    struct mt_layer_info info;
    memset(&info, 0x55, sizeof info);
    info.size = offsetof(struct mt_layer_info, k);
    settled(mt_layer_describe(&layer, &info));
    assert_true(info.size == offsetof(struct mt_layer_info, k) && info.tp == 3 && info.n == 5);
    assert_true(info.k == 0x55555555 && info.layout == 0x55555555);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(taking),
        cmocka_unit_test(giving),
        cmocka_unit_test(every_struct_is_looked_at),
        cmocka_unit_test(an_older_caller),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
