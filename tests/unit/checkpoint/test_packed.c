/* A packed checkpoint is read as it was written. */
#include "runtime/base/str.h"
#include "runtime/checkpoint/packed.h"
#include "templates/gemm_args.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void write_file(const char *path, struct packed_layer *layer, const struct quant_layer *quant,
                       const void *bias) {
    struct tensor_writer *writer = tensor_writer_new();
    packed_declare_file(writer, "key");
    packed_declare(writer, layer);
    assert_int_equal(tensor_writer_begin(writer, path), MT_OK);
    assert_int_equal(packed_put(writer, layer, quant, bias), MT_OK);
    assert_int_equal(tensor_writer_end(writer), MT_OK);
    tensor_writer_free(writer);
}

static void packed_layers_come_back(void **state) {
    (void)state;
    static const int rows8[] = {0, 17, 40};
    struct str path = {0};
    str_printf(&path, "%s/layer.safetensors", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    for (int i = 0; i < 3; i++) {
        struct packed_source source[] = {{"a.q_proj", 25}, {"a.k_proj", 15}};
        struct packed_layer layer = {.name = "a.qkv",
                                     .layer = "qkv",
                                     .n = 40,
                                     .k = 200,
                                     .rows8 = rows8[i],
                                     .rows8_chosen = rows8[i] / 2,
                                     .group = 64,
                                     .tp = 1,
                                     .source = source,
                                     .source_count = 2,
                                     .bias_type = TENSOR_F32};
        const struct problem p = packed_problem(&layer);
        struct quant_layer quant;
        struct packed_folder packed;
        float bias[40];
        for (int j = 0; j < 40; j++)
            bias[j] = (float)j + 0.5f;
        assert_int_equal(quant_layer_random(&quant, &p, 1), MT_OK);
        write_file(path.data, &layer, &quant, bias);
        assert_int_equal(packed_open(path.data, &packed), MT_OK);
        const struct packed_layer *read = packed_find(&packed, "a.qkv");
        assert_non_null(read);
        assert_int_equal(read->rows8, rows8[i]);
        assert_int_equal(read->source_count, 2);
        assert_string_equal(read->source[1].name, "a.k_proj");
        assert_memory_equal(read->bias->data, bias, sizeof bias);
        for (int width = 0; width < MT_PARTS; width++) {
            const struct quant_part *part = &quant.part[width];
            const void *data[] = {part->packed, part->scales, part->zeros, part->columns};
            for (int kind = 0; kind < PACKED_KINDS; kind++) {
                const struct tensor *t = read->tensor[width][kind];
                assert_int_equal(t != NULL, part->rows > 0 && data[kind] != NULL);
                if (t)
                    assert_memory_equal(t->data, data[kind], t->bytes);
            }
        }
        assert_int_equal(packed_check_columns(&packed, read), MT_OK);
        assert_int_equal(packed_check_hashes(&packed, read), MT_OK);
        struct packed_layer wrong = *read;
        wrong.bias_hash[31] ^= 1;
        assert_int_equal(packed_check_hashes(&packed, &wrong), MT_FAILURE);
        packed_close(&packed);
        quant_layer_release(&quant);
    }
    str_release(&path);
}

/* A header may have 100 MB, and the text of a layer that is such takes fifty times that as JSON. */
static void a_layer_is_told_in_few_words(void **state) {
    (void)state;
    struct str path = {0};
    struct packed_folder packed;
    struct quant_layer quant;
    str_printf(&path, "%s/layer.safetensors", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    for (size_t length = 1000; length <= 70000; length += 69000) {
        char *name = calloc(1, length + 1);
        assert_non_null(name);
        memset(name, 'a', length);
        struct packed_source source = {name, 40};
        struct packed_layer layer = {.name = "a.qkv",
                                     .layer = "qkv",
                                     .n = 40,
                                     .k = 200,
                                     .group = 64,
                                     .tp = 1,
                                     .source = &source,
                                     .source_count = 1,
                                     .bias_type = TENSOR_OTHER};
        const struct problem p = packed_problem(&layer);
        assert_int_equal(quant_layer_random(&quant, &p, 1), MT_OK);
        write_file(path.data, &layer, &quant, NULL);
        const enum mt_status status = packed_open(path.data, &packed);
        assert_int_equal(status, length == 1000 ? MT_OK : MT_FAILURE);
        if (!status)
            packed_close(&packed);
        quant_layer_release(&quant);
        free(name);
    }
    str_release(&path);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(packed_layers_come_back),
                                       cmocka_unit_test(a_layer_is_told_in_few_words)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
