/* Weights through the public interface: packed, filled up, uploaded. */
#include "runtime/base/str.h"
#include "runtime/layer/half.h"
#include "runtime/layer/quant.h"
#include "runtime/serve/table.h"
#include "tests/unit/serve/settled.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

static void assert_same_part(const struct mt_packed *a, const struct mt_packed *b, int i) {
    assert_int_equal(a->rows[i], b->rows[i]);
    assert_int_equal(a->padded_rows[i], b->padded_rows[i]);
    assert_true(a->weights_bytes[i] == b->weights_bytes[i] && a->scales_bytes[i] == b->scales_bytes[i] &&
                a->zeros_bytes[i] == b->zeros_bytes[i] && a->columns_bytes[i] == b->columns_bytes[i]);
    assert_memory_equal(a->weights[i], b->weights[i], a->weights_bytes[i]);
    assert_memory_equal(a->scales[i], b->scales[i], a->scales_bytes[i]);
    assert_true(a->zeros_bytes[i] == 0 || !memcmp(a->zeros[i], b->zeros[i], a->zeros_bytes[i]));
    assert_memory_equal(a->columns[i], b->columns[i], a->columns_bytes[i]);
}

/* A layer's codes, scales and zero points as another program would have them. */
struct foreign {
    int8_t codes[100 * 300];
    uint16_t scales[5 * 100];
    uint8_t zeros[5 * 100], is8[100];
};

static void take_apart(const struct quant_layer *layer, struct foreign *out) {
    *out = (struct foreign){0};
    for (int i = 0; i < 2; i++) {
        const struct quant_part *part = &layer->part[i];
        for (int row = 0; row < part->rows; row++) {
            int column = part->columns[row];
            out->is8[column] = part->bits == 8;
            memcpy(out->codes + column * 300, part->q + row * layer->k_padded, 300);
            for (int g = 0; g < 5; g++) {
                out->scales[g * 100 + column] = part->scales[g * part->padded_rows + row];
                out->zeros[g * 100 + column] = (uint8_t)quant_zero(part, (size_t)(g * part->padded_rows + row));
            }
        }
    }
}

/* 100 features of 300 inputs, a tenth of them in 8 bits; groups of 64. */
static void codes_are_packed_as_floats_are(void **state) {
    (void)state;
    static const struct {
        int rows, padded_rows, weights_bytes, scales_bytes, columns_bytes;
    } sizes[2] = {{10, 16, 16 * 384, 6 * 16 * 2, 10 * 4}, {90, 96, 96 * 192, 6 * 96 * 2, 90 * 4}};
    const struct mt_layer layer = {.problem = {.n = 100, .k = 300, .group = 64, .rows8 = 10, .dtype = DTYPE_BF16}};
    struct problem p = layer.problem;
    struct mt_packed *from_floats, *from_codes;
    struct quant_layer quantised;
    struct foreign *foreign = xmalloc(sizeof *foreign);
    float *w = xmalloc(100 * 300 * sizeof *w);
    for (int i = 0; i < 100 * 300; i++)
        w[i] = (float)(i * 7919 % 1000 - 500) / 700;
    settled(mt_pack_float(&layer, w, NULL, &from_floats));
    p.m = 1;
    assert_int_equal(quant_layer_init(&quantised, &p, w, NULL), MT_OK);
    take_apart(&quantised, foreign);
    for (int spread = 0; spread < 2; spread++) {
        assert_int_equal(mt_pack_codes(&layer, foreign->codes, foreign->scales, foreign->zeros,
                                       spread ? NULL : foreign->is8, &from_codes),
                         MT_OK);
        assert_true(from_codes->size == sizeof *from_codes && from_codes->layout == MT_LAYOUT &&
                    from_codes->rows8 == 10 && from_codes->rows8_chosen == 10);
        for (int i = 0; i < 2; i++) {
            assert_true(from_codes->rows[i] == sizes[i].rows && from_codes->padded_rows[i] == sizes[i].padded_rows);
            assert_int_equal(from_codes->weights_bytes[i], sizes[i].weights_bytes);
            assert_int_equal(from_codes->scales_bytes[i], sizes[i].scales_bytes);
            assert_int_equal(from_codes->columns_bytes[i], sizes[i].columns_bytes);
            assert_same_part(from_codes, from_floats, i);
        }
        assert_int_equal(from_codes->zeros_bytes[MT_W4], 6 * 96);
        mt_packed_free(from_codes);
    }
    /* What cannot be packed leaves nothing. */
    foreign->scales[99] = 0x7c00;
    assert_int_equal(mt_pack_codes(&layer, foreign->codes, foreign->scales, foreign->zeros, foreign->is8, &from_codes),
                     MT_USAGE);
    assert_null(from_codes);
    assert_non_null(strstr(mt_error_message(), "feature 99, from input 0 on"));
    foreign->is8[5] ^= 1;
    assert_int_equal(mt_pack_float(&layer, w, foreign->is8, &from_codes), MT_USAGE);
    assert_null(from_codes);
    /* Codes cannot be given more bits than they were quantised with. */
    memset(foreign->is8, 0, sizeof foreign->is8);
    foreign->is8[3] = 1;
    assert_int_equal(mt_pack_codes(&layer, foreign->codes, foreign->scales, foreign->zeros, foreign->is8, &from_codes),
                     MT_USAGE);
    assert_non_null(strstr(mt_error_message(), "1 of 100 features"));
    quant_layer_release(&quantised);
    mt_packed_free(from_floats);
    free(foreign);
    free(w);
}

/* Without zero points: NULL or 8 everywhere, and nothing of them is kept; 8-bit codes down to -128. */
static void symmetric_codes_have_no_zeros(void **state) {
    (void)state;
    enum { N = 20, K = 70 };
    const struct mt_layer layer = {.problem = {.n = N, .k = K, .group = 64, .rows8 = 3, .symmetric = true}};
    int8_t codes[N * K];
    uint16_t scales[2 * N];
    uint8_t zeros[2 * N], is8[N] = {[4] = 1, [9] = 1, [19] = 1};
    struct mt_packed *packed[2];
    for (int i = 0; i < N * K; i++)
        codes[i] = (int8_t)(is8[i / K] ? -128 + i % 256 : i % 16);
    for (int i = 0; i < 2 * N; i++)
        scales[i] = half_from_float(0.01f * (float)(1 + i));
    memset(zeros, 8, sizeof zeros);
    for (int i = 0; i < 2; i++) {
        settled(mt_pack_codes(&layer, codes, scales, i ? zeros : NULL, is8, &packed[i]));
        assert_true(!packed[i]->zeros[MT_W4] && packed[i]->zeros_bytes[MT_W4] == 0);
        assert_true(!packed[i]->zeros[MT_W8] && packed[i]->zeros_bytes[MT_W8] == 0);
    }
    for (int i = 0; i < 2; i++)
        assert_same_part(packed[0], packed[1], i);
    /* Lane 0's first word has k 0..3 of row 0, which is feature 4. */
    assert_memory_equal(packed[0]->weights[MT_W8], codes + 4 * K, 4);
    mt_packed_free(packed[0]);
    mt_packed_free(packed[1]);
    zeros[7] = 7;
    assert_int_equal(mt_pack_codes(&layer, codes, scales, zeros, is8, &packed[0]), MT_USAGE);
    assert_null(packed[0]);
    assert_non_null(strstr(mt_error_message(), "feature 7"));
}

/* 3 of 40 features are chosen, and 16 keep 8 bits: the others are those whose rounding to 4 bits loses most. */
static void parts_are_filled(void **state) {
    (void)state;
    enum { N = 40, K = 200 };
    const struct mt_layer layer = {.problem = {.n = N, .k = K, .group = 128, .rows8 = 16}};
    static float w[N * K];
    uint8_t is8[N] = {0}, want[N] = {0};
    struct mt_packed *packed, *wanted;
    for (int i = 0; i < N * K; i++) /* features 20 .. 32 are the largest, and so lose most */
        w[i] = (float)(i * 7919 % 1000 - 500) / 700 * (i / K >= 20 && i / K < 33 ? 2 : 1);
    is8[1] = is8[2] = is8[39] = 1;
    for (int i = 0; i < N; i++)
        want[i] = is8[i] || (i >= 20 && i < 33);
    settled(mt_pack_float(&layer, w, is8, &packed));
    settled(mt_pack_float(&layer, w, want, &wanted));
    assert_true(packed->rows8 == 16 && packed->rows8_chosen == 3);
    assert_true(wanted->rows8 == 16 && wanted->rows8_chosen == 16);
    for (int i = 0; i < 2; i++)
        assert_same_part(packed, wanted, i);
    mt_packed_free(packed);
    mt_packed_free(wanted);
    /* Not from none, and not to any other number. */
    memset(is8, 0, sizeof is8);
    assert_int_equal(mt_pack_float(&layer, w, is8, &packed), MT_USAGE);
    assert_non_null(strstr(mt_error_message(), "0 of 40 features are chosen"));
    const struct mt_layer other = {.problem = {.n = N, .k = K, .group = 128, .rows8 = 17}};
    is8[7] = 1;
    assert_int_equal(mt_pack_float(&other, w, is8, &packed), MT_USAGE);
    assert_non_null(strstr(mt_error_message(), "1 of 40 features are chosen"));
    /* 40 is less than the 48 that 33 would be filled up to. */
    const struct mt_layer whole = {.problem = {.n = N, .k = K, .group = 128, .rows8 = N}};
    memset(is8, 1, 33);
    settled(mt_pack_float(&whole, w, is8, &packed));
    assert_true(packed->rows[MT_W8] == N && packed->rows8_chosen == 33);
    mt_packed_free(packed);
    w[5] = NAN;
    is8[7] = 0;
    assert_int_equal(mt_pack_float(&whole, w, is8, &packed), MT_USAGE);
    assert_null(packed);
}

/* Device memory that is only noted down. */
static struct {
    size_t bytes;
    int copies, frees;
    CUdeviceptr to[8];
    const void *from[8];
    size_t size[8];
} upload;

static CUresult note_alloc(CUdeviceptr *out, size_t bytes) {
    upload.bytes = bytes;
    *out = 0x10000;
    return CUDA_SUCCESS;
}

static CUresult note_copy(CUdeviceptr to, const void *from, size_t bytes) {
    assert_true(upload.copies < 8);
    upload.to[upload.copies] = to;
    upload.from[upload.copies] = from;
    upload.size[upload.copies++] = bytes;
    return CUDA_SUCCESS;
}

static CUresult note_free(CUdeviceptr address) {
    assert_int_equal(address, 0x10000);
    upload.frees++;
    return CUDA_SUCCESS;
}

/* One allocation, in which each tensor begins at a multiple of 256. */
static void tensors_lie_one_behind_another(void **state) {
    (void)state;
    static char tensor[7];
    static const size_t size[7] = {10240, 320, 160, 12, 5120, 320, 160}; /* K is 640, in groups of 64 */
    static const CUdeviceptr at[7] = {0x10000, 0x12800, 0x12a00, 0x12b00, 0x12c00, 0x14000, 0x14200};
    struct mt_packed packed = {.size = sizeof packed,
                               .layout = MT_LAYOUT,
                               .rows = {3, 5},
                               .padded_rows = {16, 16},
                               .weights = {&tensor[0], &tensor[4]},
                               .scales = {&tensor[1], &tensor[5]},
                               .zeros = {&tensor[2], &tensor[6]},
                               .columns = {&tensor[3], NULL},
                               .weights_bytes = {10240, 5120},
                               .scales_bytes = {320, 320},
                               .zeros_bytes = {160, 160},
                               .columns_bytes = {12, 0}};
    struct mt_table table = {.dev.drv = {.MemAlloc = note_alloc, .MemcpyHtoD = note_copy, .MemFree = note_free}};
    struct mt_weights w = {.size = sizeof w};
    assert_int_equal(mt_weights_upload(&table, &packed, &w), MT_OK);
    assert_int_equal(upload.bytes, 0x14300 - 0x10000);
    assert_int_equal(upload.copies, 7);
    for (int i = 0; i < 7; i++) {
        assert_int_equal(upload.to[i], at[i]);
        assert_int_equal(upload.size[i], size[i]);
        assert_ptr_equal(upload.from[i], &tensor[i]);
    }
    assert_true(w.size == sizeof w && w.layout == MT_LAYOUT && w.rows[0] == 3 && w.rows[1] == 5);
    assert_int_equal(w.memory, 0x10000);
    assert_true(w.weights[0] == at[0] && w.scales[0] == at[1] && w.zeros[0] == at[2] && w.columns[0] == at[3]);
    assert_true(w.weights[1] == at[4] && w.scales[1] == at[5] && w.zeros[1] == at[6] && w.columns[1] == 0);
    mt_weights_free(&table, &w);
    assert_int_equal(upload.frees, 1);
    assert_true(w.size == sizeof w && w.memory + w.weights[0] == 0 && w.layout == 0);
    mt_weights_free(&table, &w);
    assert_int_equal(upload.frees, 1);

    packed.layout = 2;
    w.memory = 5;
    assert_int_equal(mt_weights_upload(&table, &packed, &w), MT_USAGE);
    assert_string_equal(mt_error_message(),
                        "mt_weights_upload: the weights are packed in layout 2, and the kernels read "
                        "layout 1: repack them");
    assert_int_equal(w.memory, 0);
    assert_int_equal(upload.copies, 7);
}

/* What was stored and loaded again may be damaged: nothing is copied then. */
static void sizes_that_contradict_each_other(void **state) {
    (void)state;
    static const struct mt_layer layer = {.problem = {.n = 40, .k = 200, .group = 64, .rows8 = 3}};
    static float w[40 * 200];
    struct mt_table table = {.dev.drv = {.MemAlloc = note_alloc, .MemcpyHtoD = note_copy, .MemFree = note_free}};
    struct mt_weights to = {.size = sizeof to};
    struct mt_packed *good, bad;
    for (int i = 0; i < 40 * 200; i++)
        w[i] = (float)(i % 17 - 8);
    settled(mt_pack_float(&layer, w, NULL, &good));
    const int copies = upload.copies;
    for (int change = 0; change < 15; change++) {
        bad = *good;
        switch (change) {
        case 0:
            bad.rows[0] = 4;
            break; /* columns of three */
        case 1:
            bad.rows[0] = -1;
            break;
        case 2:
            bad.rows[1] = 0x7fffffff;
            break;
        case 3:
            bad.padded_rows[1] = 64;
            break;
        case 4:
            bad.weights_bytes[0]--;
            break;
        case 5:
            bad.weights_bytes[1] = 0;
            break;
        case 6:
            bad.weights_bytes[1] = (size_t)-1;
            break;
        case 7:
            bad.scales_bytes[1] += 2;
            break;
        case 8:
            bad.zeros_bytes[1]--;
            break;
        case 9:
            bad.columns_bytes[1] += 4;
            break;
        case 10:
            bad.weights[1] = NULL;
            break;
        case 11:
            bad.scales[0] = NULL;
            break;
        case 12:
            bad.zeros[1] = NULL;
            break;
        case 13:
            bad.columns[0] = NULL;
            break;
        default:
            bad.rows[0] = bad.padded_rows[0] = 0;
            break;
        }
        if (mt_weights_upload(&table, &bad, &to) != MT_USAGE)
            fail_msg("change %d was taken", change);
        assert_non_null(strstr(mt_error_message(), "contradict each other, or a tensor is NULL"));
    }
    assert_int_equal(upload.copies, copies);
    mt_packed_free(good);
}

static void what_is_null_is_refused(void **state) {
    (void)state;
    static const struct mt_layer layer = {.problem = {.n = 4, .k = 4, .group = 64}};
    static const float w[16];
    static const int8_t codes[16];
    struct mt_packed *packed;
    assert_int_equal(mt_pack_float(NULL, w, NULL, &packed), MT_USAGE);
    assert_string_equal(mt_error_message(), "mt_pack_float: layer is NULL");
    assert_int_equal(mt_pack_float(&layer, w, NULL, NULL), MT_USAGE);
    assert_string_equal(mt_error_message(), "mt_pack_float: packed is NULL");
    assert_int_equal(mt_pack_float(&layer, NULL, NULL, &packed), MT_USAGE);
    assert_string_equal(mt_error_message(), "mt_pack_float: w is NULL");
    assert_null(packed);
    assert_int_equal(mt_pack_codes(&layer, codes, NULL, NULL, NULL, &packed), MT_USAGE);
    assert_string_equal(mt_error_message(), "mt_pack_codes: scales is NULL");
    assert_null(packed);
    assert_int_equal(mt_weights_upload(NULL, NULL, NULL), MT_USAGE);
    assert_string_equal(mt_error_message(), "mt_weights_upload: table is NULL");
}

/* All features of one width: no columns, and nothing of the other. */
static void a_layer_of_one_width(void **state) {
    (void)state;
    const struct mt_layer layer = {.problem = {.n = 64, .k = 64, .group = 128}};
    static float w[64 * 64];
    struct mt_packed *packed;
    w[0] = 1;
    settled(mt_pack_float(&layer, w, NULL, &packed));
    assert_true(packed->rows[MT_W8] == 0 && packed->weights_bytes[MT_W8] == 0 && packed->scales_bytes[MT_W8] == 0 &&
                packed->zeros_bytes[MT_W8] == 0 && !packed->weights[MT_W8]);
    assert_true(packed->rows[MT_W4] == 64 && packed->padded_rows[MT_W4] == 64 && !packed->columns[MT_W4] &&
                packed->columns_bytes[MT_W4] == 0);
    /* Lane 0's first word has k 0..3 of feature 0, of which the first is 15 of 15 steps. */
    assert_int_equal(*(const unsigned char *)packed->weights[MT_W4] & 15, 15);
    assert_int_equal(*(const uint16_t *)packed->scales[MT_W4], half_from_float(1 / 15.0f));
    mt_packed_free(packed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_are_packed_as_floats_are),
        cmocka_unit_test(symmetric_codes_have_no_zeros),
        cmocka_unit_test(parts_are_filled),
        cmocka_unit_test(a_layer_of_one_width),
        cmocka_unit_test(tensors_lie_one_behind_another),
        cmocka_unit_test(sizes_that_contradict_each_other),
        cmocka_unit_test(what_is_null_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
