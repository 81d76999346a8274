/* Small checkpoints of each format, written word by word, and what is read of them. */
#include "runtime/base/str.h"
#include "runtime/layer/half.h"
#include "tuner/convert/checkpoint.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { K = 128, GROUPS = 2, N = 8 }; /* of most cases; groups of 64 */

static struct str folder, file, config;

static int setup(void **state) {
    (void)state;
    str_printf(&folder, "%s/checkpoint-%d", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (int)getpid());
    str_printf(&file, "%s/model.safetensors", folder.data);
    str_printf(&config, "%s/config.json", folder.data);
    return mkdir(folder.data, 0700);
}

static int teardown(void **state) {
    (void)state;
    unlink(file.data);
    unlink(config.data);
    rmdir(folder.data);
    str_release(&folder);
    str_release(&file);
    str_release(&config);
    return 0;
}

struct item {
    const char *name, *type;
    int rank;
    int64_t shape[2];
    const void *data;
    size_t bytes;
};

/* `quantization` NULL: config.json says nothing of it. */
static void write_checkpoint(const struct item *items, int count, const char *quantization) {
    struct tensor_writer *writer = tensor_writer_new();
    FILE *f = fopen(config.data, "w");
    assert_non_null(f);
    fprintf(f, quantization ? "{\"quantization_config\": %s}" : "{}", quantization);
    fclose(f);
    for (int i = 0; i < count; i++)
        tensor_writer_add(writer, items[i].name, items[i].type, items[i].rank, items[i].shape, items[i].bytes, 1);
    assert_int_equal(tensor_writer_begin(writer, file.data), MT_OK);
    for (int i = 0; i < count; i++)
        assert_int_equal(tensor_writer_put(writer, i, 0, items[i].data, items[i].bytes), MT_OK);
    assert_int_equal(tensor_writer_end(writer), MT_OK);
    tensor_writer_free(writer);
}

/* What the made weights are: any rule that tells all places from each other. */
static int code_of(int n, int k, int levels) {
    return (n * 5 + k * 3 + k / 16) % levels;
}
static int zero_of(int n, int g) {
    return 1 + (n * 3 + g * 7) % 15; /* GPTQ v1 stores no 0 */
}
static uint16_t scale_of(int n, int g) {
    return half_from_float(0.25f + (float)n / 64 + (float)g / 8);
}

static void assert_codes(const struct codes *c, int n, int bits) {
    for (int k = 0; k < K; k++)
        assert_int_equal(c->q[n * K + k], bits == 4 ? code_of(n, k, 16) : code_of(n, k, 256) - 128);
    for (int g = 0; g < c->groups; g++)
        assert_int_equal(c->scales[n * c->groups + g], scale_of(n, g));
    assert_int_equal(c->is8[n], bits == 8);
}

static void read_first(const struct checkpoint_options *options, struct checkpoint *from, struct codes *codes) {
    if (checkpoint_open(folder.data, options, from) != MT_OK)
        fail_msg("%s", fail_message());
    assert_int_equal(from->count, 1);
    const struct linear *l = &from->linear[0];
    assert_string_equal(l->name, "a.q_proj");
    assert_int_equal(checkpoint_read(from, l, l->group ? l->group : l->k, codes), MT_OK);
}

static void assert_refused(const struct checkpoint_options *options, const char *words) {
    struct checkpoint from;
    assert_int_equal(checkpoint_open(folder.data, options, &from), MT_USAGE);
    if (!strstr(fail_message(), words))
        fail_msg("no '%s' in: %s", words, fail_message());
}

static const struct checkpoint_options plain = {0};

/* ---- the formats, made by loops over their own definition ---- */

static uint32_t packed[N * K / 4], zeros[N * GROUPS];
static uint16_t scales[N * GROUPS];
static int64_t shape[2] = {N, K};

/* Word w of feature n has inputs 8w .. 8w + 7. */
static void fill_packed(int bits) {
    const int per = 32 / bits;
    memset(packed, 0, sizeof packed);
    memset(zeros, 0, sizeof zeros);
    for (int n = 0; n < N; n++) {
        for (int k = 0; k < K; k++)
            packed[n * (K / per) + k / per] |= (uint32_t)code_of(n, k, bits == 4 ? 16 : 256) << (k % per * bits);
        for (int g = 0; g < GROUPS; g++) {
            scales[n * GROUPS + g] = scale_of(n, g);
            zeros[n / per * GROUPS + g] |= (uint32_t)(bits == 4 ? zero_of(n, g) : 128) << (n % per * bits);
        }
    }
}

static void pack_quantized(void **state) {
    (void)state;
    for (int bits = 4; bits <= 8; bits += 4) {
        struct checkpoint from;
        struct codes codes;
        fill_packed(bits);
        const int64_t columns = K * bits / 32, rows = N * bits / 32;
        const struct item items[] = {
            {"a.q_proj.weight_packed", "I32", 2, {N, columns}, packed, (size_t)(N * columns) * 4},
            {"a.q_proj.weight_scale", "F16", 2, {N, GROUPS}, scales, sizeof scales},
            {"a.q_proj.weight_shape", "I64", 1, {2}, shape, sizeof shape},
            {"a.q_proj.weight_zero_point", "I32", 2, {rows, GROUPS}, zeros, (size_t)rows * GROUPS * 4},
            {"a.q_proj.bias", "F16", 1, {N}, scales, N * 2},
            {"norm.weight", "F16", 1, {N}, scales, N * 2},
        };
        write_checkpoint(items, 6, NULL);
        read_first(&plain, &from, &codes);
        assert_int_equal(from.format, FORMAT_COMPRESSED);
        assert_int_equal(from.linear[0].group, 64);
        assert_int_equal(from.linear[0].symmetric, bits == 8);
        assert_non_null(from.linear[0].bias);
        assert_int_equal(from.carried_count, 1);
        for (int n = 0; n < N; n++) {
            assert_codes(&codes, n, bits);
            for (int g = 0; g < GROUPS; g++)
                assert_int_equal(codes.zeros[n * GROUPS + g], bits == 4 ? zero_of(n, g) : 0);
        }
        codes_release(&codes);
        checkpoint_close(&from);
        for (int i = 0; bits == 4 && i < GROUPS; i++)
            zeros[i] = 0x88888888;
        if (bits == 4) {
            write_checkpoint(items, 6,
                             "{\"config_groups\": {\"group_0\": {\"targets\": [\"Linear\"], \"weights\": "
                             "{\"num_bits\": 4, \"symmetric\": false, \"group_size\": 64}}}}");
            assert_int_equal(checkpoint_open(folder.data, &plain, &from), MT_OK);
            assert_false(from.linear[0].symmetric);
            checkpoint_close(&from);
        }
        if (bits == 8) {
            zeros[1] ^= 1u << 8; /* of feature 1, group 1 */
            write_checkpoint(items, 6, NULL);
            assert_refused(&plain, "feature 1, group 1");
        }
    }
}

/* Weights in floats of 8 bits beside integers are not left behind in silence. */
static void other_types(void **state) {
    (void)state;
    static const uint8_t floats[N * K];
    fill_packed(4);
    const struct item items[] = {
        {"a.q_proj.weight_packed", "I32", 2, {N, K / 8}, packed, N * K / 2},
        {"a.q_proj.weight_scale", "F16", 2, {N, GROUPS}, scales, sizeof scales},
        {"a.q_proj.weight_shape", "I64", 1, {2}, shape, sizeof shape},
        {"a.k_proj.weight", "F8_E4M3", 2, {N, K}, floats, sizeof floats},
        {"a.k_proj.weight_scale", "F16", 2, {N, GROUPS}, scales, sizeof scales},
    };
    write_checkpoint(items, 5, NULL);
    assert_refused(&plain, "a.k_proj has weights of type F8_E4M3");
    write_checkpoint(items + 3, 2, NULL);
    assert_refused(&plain, "a.k_proj has weights of type F8_E4M3");
    write_checkpoint(items, 3, NULL);
    struct checkpoint from;
    assert_int_equal(checkpoint_open(folder.data, &plain, &from), MT_OK);
    checkpoint_close(&from);
}

/* Word [w][n] of GPTQ has inputs 8w .. 8w + 7 of feature n. */
static void fill_gptq(int bits, int less) {
    const int per = 32 / bits;
    memset(packed, 0, sizeof packed);
    memset(zeros, 0, sizeof zeros);
    for (int n = 0; n < N; n++) {
        for (int k = 0; k < K; k++)
            packed[k / per * N + n] |= (uint32_t)code_of(n, k, bits == 4 ? 16 : 256) << (k % per * bits);
        for (int g = 0; g < GROUPS; g++) {
            const int zero = bits == 4 ? zero_of(n, g) : 128;
            scales[g * N + n] = scale_of(n, g);
            zeros[g * (N / per) + n / per] |= (uint32_t)((zero - less) & (bits == 4 ? 15 : 255)) << (n % per * bits);
        }
    }
}

static int32_t order[K];

static int gptq_items(int bits, struct item items[4]) {
    for (int k = 0; k < K; k++)
        order[k] = k / 64;
    const struct item all[] = {
        {"a.q_proj.qweight", "I32", 2, {K * bits / 32, N}, packed, (size_t)K * bits / 32 * N * 4},
        {"a.q_proj.qzeros", "I32", 2, {GROUPS, N * bits / 32}, zeros, (size_t)GROUPS * N * bits / 32 * 4},
        {"a.q_proj.scales", "F16", 2, {GROUPS, N}, scales, sizeof scales},
        {"a.q_proj.g_idx", "I32", 1, {K}, order, sizeof order},
    };
    memcpy(items, all, sizeof all);
    return 4;
}

static void gptq_versions(void **state) {
    (void)state;
    static const char *const said[] = {"{\"quant_method\": \"gptq\", \"bits\": 4, \"checkpoint_format\": \"gptq\"}",
                                       "{\"quant_method\": \"gptq\", \"bits\": 4, \"checkpoint_format\": \"gptq_v2\"}"};
    for (int version = 1; version <= 2; version++)
        for (int bits = 4; bits <= 8; bits += 4) {
            struct checkpoint from;
            struct codes codes;
            struct item items[4];
            fill_gptq(bits, version == 1);
            write_checkpoint(items, gptq_items(bits, items), said[version - 1]);
            read_first(&plain, &from, &codes);
            assert_int_equal(from.format, FORMAT_GPTQ);
            assert_int_equal(from.gptq_version, version);
            for (int n = 0; n < N; n++) {
                assert_codes(&codes, n, bits);
                for (int g = 0; g < GROUPS; g++)
                    assert_int_equal(codes.zeros[n * GROUPS + g], bits == 4 ? zero_of(n, g) : 0);
            }
            codes_release(&codes);
            checkpoint_close(&from);
        }
}

static int version_of(uint32_t word, const char *said, const struct checkpoint_options *options, bool *noted) {
    struct checkpoint from;
    struct item items[4];
    fill_gptq(4, 0);
    for (int i = 0; i < GROUPS * N / 8; i++)
        zeros[i] = word;
    write_checkpoint(items, gptq_items(4, items), said);
    assert_int_equal(checkpoint_open(folder.data, options, &from), MT_OK);
    const int version = from.gptq_version;
    *noted = *from.note != 0;
    if (word == (version == 1 ? 0x77777777 : 0x88888888))
        assert_true(from.linear[0].symmetric);
    checkpoint_close(&from);
    return version;
}

static void gptq_version_by_values(void **state) {
    (void)state;
    const struct checkpoint_options second = {.gptq_version = 2};
    bool noted;
    assert_int_equal(version_of(0x77777777, NULL, &plain, &noted), 1);
    assert_true(noted);
    assert_int_equal(version_of(0x88888888, NULL, &plain, &noted), 2);
    assert_true(noted);
    assert_int_equal(version_of(0x75777767, NULL, &plain, &noted), 1);
    assert_true(noted);
    assert_int_equal(version_of(0x78977867, NULL, &plain, &noted), 2);
    assert_true(noted);
    assert_int_equal(version_of(0x77777777, NULL, &second, &noted), 2);
    assert_false(noted);
    assert_int_equal(version_of(0x66f66666, NULL, &plain, &noted), 2); /* v1 has no 15 */
    assert_true(noted);
    /* v2 that calls itself v1: only where the zero points are said to be symmetric. */
    assert_int_equal(version_of(0x88888888, "{\"checkpoint_format\": \"gptq\", \"sym\": true}", &plain, &noted), 2);
    assert_true(noted);
    assert_int_equal(version_of(0x88888888, "{\"checkpoint_format\": \"gptq\", \"sym\": false}", &plain, &noted), 1);
    assert_false(noted);
    assert_int_equal(version_of(0x78977867, "{\"checkpoint_format\": \"gptq\", \"sym\": true}", &plain, &noted), 1);
    assert_false(noted);
}

static bool symmetric_as(const char *said) {
    struct checkpoint from;
    struct item items[4];
    fill_gptq(4, 0);
    for (int i = 0; i < GROUPS * N / 8; i++)
        zeros[i] = 0x88888888;
    write_checkpoint(items, gptq_items(4, items), said);
    assert_int_equal(checkpoint_open(folder.data, &plain, &from), MT_OK);
    const bool symmetric = from.linear[0].symmetric;
    checkpoint_close(&from);
    return symmetric;
}

static void gptq_v1_with_15(void **state) {
    (void)state;
    struct item items[4];
    fill_gptq(4, 1);
    zeros[1] |= 0xf0;
    write_checkpoint(items, gptq_items(4, items), "{\"checkpoint_format\": \"gptq\", \"sym\": false}");
    assert_refused(&plain, "as 0 or as 16");
}

/* Zero points that are all 8 are kept where the config calls the weights asymmetric. */
static void symmetric_by_config(void **state) {
    (void)state;
    assert_true(symmetric_as("{\"checkpoint_format\": \"gptq_v2\", \"sym\": true}"));
    assert_true(symmetric_as("{\"checkpoint_format\": \"gptq_v2\"}"));
    assert_false(symmetric_as("{\"checkpoint_format\": \"gptq_v2\", \"sym\": false}"));
}

static void act_order(void **state) {
    (void)state;
    struct item items[4];
    fill_gptq(4, 0);
    const int count = gptq_items(4, items);
    order[63] = 1;
    order[64] = 0;
    write_checkpoint(items, count, "{\"quant_method\": \"gptq\", \"bits\": 4, \"desc_act\": true}");
    assert_refused(&plain, "input 63 is in group 1");
}

/* Word [k][n / 8] of AWQ: features 0, 2, 4, 6, 1, 3, 5, 7 of the eight. */
static void awq(void **state) {
    (void)state;
    static const int order_of[8] = {0, 2, 4, 6, 1, 3, 5, 7};
    struct checkpoint from;
    struct codes codes;
    memset(packed, 0, sizeof packed);
    memset(zeros, 0, sizeof zeros);
    for (int i = 0; i < 8; i++) {
        for (int k = 0; k < K; k++)
            packed[k] |= (uint32_t)code_of(order_of[i], k, 16) << 4 * i;
        for (int g = 0; g < GROUPS; g++) {
            zeros[g] |= (uint32_t)zero_of(order_of[i], g) << 4 * i;
            scales[g * N + i] = scale_of(i, g);
        }
    }
    const struct item items[] = {
        {"a.q_proj.qweight", "I32", 2, {K, 1}, packed, K * 4},
        {"a.q_proj.qzeros", "I32", 2, {GROUPS, 1}, zeros, GROUPS * 4},
        {"a.q_proj.scales", "F16", 2, {GROUPS, N}, scales, sizeof scales},
    };
    write_checkpoint(items, 3, NULL);
    read_first(&plain, &from, &codes);
    assert_int_equal(from.format, FORMAT_AWQ);
    for (int n = 0; n < N; n++) {
        assert_codes(&codes, n, 4);
        for (int g = 0; g < GROUPS; g++)
            assert_int_equal(codes.zeros[n * GROUPS + g], zero_of(n, g));
    }
    codes_release(&codes);
    checkpoint_close(&from);
}

/* MixLLM: three features with 8 bits, then five with 4, in int16 and in float32; one scale more than one group. */
static void mixllm(void **state) {
    (void)state;
    static const int32_t indices[N] = {1, 4, 6, 0, 2, 3, 5, 7};
    static uint8_t is8[N] = {1, 1, 1}, zero[GROUPS * N];
    static int16_t small[N * K];
    static float wide[N * K], wide_indices[N];
    struct checkpoint from;
    struct codes codes;
    for (int i = 0; i < N; i++) {
        const int n = indices[i];
        wide_indices[i] = (float)n;
        for (int k = 0; k < K; k++) {
            small[i * K + k] = (int16_t)(i < 3 ? code_of(n, k, 256) - 128 : code_of(n, k, 16));
            wide[i * K + k] = small[i * K + k];
        }
        for (int g = 0; g < GROUPS; g++) {
            zero[g * N + i] = i < 3 ? 0 : (uint8_t)zero_of(n, g);
            scales[g * N + i] = scale_of(n, g);
        }
    }
    for (int turn = 0; turn < 2; turn++) {
        struct item items[] = {
            {"a.q_proj.qweight", "I16", 2, {N, K}, small, sizeof small},
            {"a.q_proj.scale", "F16", 2, {GROUPS, N}, scales, sizeof scales},
            {"a.q_proj.zero", "U8", 2, {GROUPS, N}, zero, sizeof zero},
            {"a.q_proj.indices", "I32", 1, {N}, indices, sizeof indices},
            {"a.q_proj.is_int8_channel", "BOOL", 1, {N}, is8, sizeof is8},
        };
        if (turn) {
            items[0] = (struct item){"a.q_proj.qweight", "F32", 2, {N, K}, wide, sizeof wide};
            items[3] = (struct item){"a.q_proj.indices", "F32", 1, {N}, wide_indices, sizeof wide_indices};
        }
        write_checkpoint(items, 5, turn ? NULL : "{\"quant_method\": \"mixllm\", \"ratio\": 0.1}");
        read_first(&plain, &from, &codes);
        assert_int_equal(from.format, FORMAT_MIXLLM);
        assert_int_equal(from.linear[0].rows8, 3);
        for (int n = 0; n < N; n++) {
            const bool w8 = n == 1 || n == 4 || n == 6;
            assert_codes(&codes, n, w8 ? 8 : 4);
            for (int g = 0; g < GROUPS; g++)
                assert_int_equal(codes.zeros[n * GROUPS + g], w8 ? 0 : zero_of(n, g));
        }
        codes_release(&codes);
        checkpoint_close(&from);
        small[3 * K + 5] = 16; /* feature 0 has 4 bits */
        if (!turn) {
            write_checkpoint(items, 5, NULL);
            assert_refused(&plain, "feature 0, input 5");
        }
        is8[4] = (uint8_t)turn; /* 8 bits behind 4 */
        write_checkpoint(items, 5, NULL);
        if (turn)
            assert_refused(&plain, "those with 8 bits first");
    }
}

/* int-quantized, one scale for each feature. */
static void bytes_by_channel(void **state) {
    (void)state;
    static int8_t codes8[N * K];
    static uint16_t bf16[N];
    struct checkpoint from;
    struct codes codes;
    for (int n = 0; n < N; n++) {
        bf16[n] = bf16_from_float(half_to_float(scale_of(n, 0)));
        for (int k = 0; k < K; k++)
            codes8[n * K + k] = (int8_t)(code_of(n, k, 256) - 128);
    }
    const struct item items[] = {
        {"a.q_proj.weight", "I8", 2, {N, K}, codes8, sizeof codes8},
        {"a.q_proj.weight_scale", "BF16", 2, {N, 1}, bf16, sizeof bf16},
    };
    write_checkpoint(items, 2, NULL);
    read_first(&plain, &from, &codes);
    assert_int_equal(from.linear[0].group, 0);
    assert_int_equal(codes.groups, 1);
    for (int n = 0; n < N; n++)
        assert_codes(&codes, n, 8);
    codes_release(&codes);
    /* Where it is fused with a layer in groups, each has the same scale. */
    assert_int_equal(checkpoint_read(&from, &from.linear[0], 64, &codes), MT_OK);
    assert_int_equal(codes.groups, 2);
    assert_int_equal(codes.scales[2 * 5], scale_of(5, 0));
    assert_int_equal(codes.scales[2 * 5 + 1], scale_of(5, 0));
    codes_release(&codes);
    checkpoint_close(&from);
    /* 4 bits by the config: codes beyond -8..7 are none. */
    write_checkpoint(items, 2,
                     "{\"quant_method\": \"compressed-tensors\", \"config_groups\": {\"group_0\": {\"targets\": "
                     "[\"Linear\"], \"weights\": {\"num_bits\": 4, \"strategy\": \"channel\"}}}}");
    assert_refused(&plain, "none of 4 bits");
}

static void scales_that_fp16_has_not(void **state) {
    (void)state;
    static int8_t codes8[N * K];
    static float scale[N * GROUPS];
    const struct checkpoint_options round_scales = {.round_scales = true};
    struct checkpoint from;
    struct codes codes;
    for (int i = 0; i < N * GROUPS; i++)
        scale[i] = 0x1p-20f * (float)(i + 1); /* exact, though subnormal */
    const struct item items[] = {
        {"a.q_proj.weight", "I8", 2, {N, K}, codes8, sizeof codes8},
        {"a.q_proj.weight_scale", "F32", 2, {N, GROUPS}, scale, sizeof scale},
    };
    write_checkpoint(items, 2, NULL);
    read_first(&plain, &from, &codes);
    assert_int_equal(codes.scales[3], 4 * 16);
    codes_release(&codes);
    checkpoint_close(&from);
    scale[3] = 0x1.8p-24f; /* half way between two: the even one is 2^-23 */
    scale[9] = 1 + 0x1p-20f;
    write_checkpoint(items, 2, NULL);
    assert_refused(&plain, "2 of the 16 scales exactly");
    assert_refused(&plain, "feature 1, group 1");
    read_first(&round_scales, &from, &codes);
    assert_int_equal(from.rounded, 2);
    assert_true(from.worst > 0.33 && from.worst < 0.34);
    assert_int_equal(codes.scales[3], 2);
    assert_int_equal(codes.scales[9], 0x3c00);
    codes_release(&codes);
    checkpoint_close(&from);
    scale[5] = 70000;
    write_checkpoint(items, 2, NULL);
    assert_refused(&round_scales, "65504");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pack_quantized),
        cmocka_unit_test(other_types),
        cmocka_unit_test(gptq_versions),
        cmocka_unit_test(gptq_version_by_values),
        cmocka_unit_test(gptq_v1_with_15),
        cmocka_unit_test(symmetric_by_config),
        cmocka_unit_test(act_order),
        cmocka_unit_test(awq),
        cmocka_unit_test(mixllm),
        cmocka_unit_test(bytes_by_channel),
        cmocka_unit_test(scales_that_fp16_has_not),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
