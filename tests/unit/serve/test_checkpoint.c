/* Packed checkpoints through the public interface. */
#include "runtime/layer/pack.h"
#include "runtime/serve/index.h"
#include "tests/unit/checkpoint/make_packed.h"
#include "tests/unit/serve/settled.h"
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

enum { LAYERS = 5, FIRST = 3 /* of them in the first file */ };
static const struct made_layer layers[LAYERS] = {
    {"model.layers.0", "qkv", 96, 200, 33, 64, false, TENSOR_BF16, 2, 1},
    {"model.layers.0", "o", 40, 300, 0, 128, false, TENSOR_OTHER, 2, 1},
    {"model.layers.0", "down", 33, 130, 33, 256, false, TENSOR_F32, 2, 1},
    {"model.layers.1", "qkv", 96, 200, 16, 64, true, TENSOR_F16, 2, 1},
    {"model.layers.1.experts.7", "gate_up", 300, 128, 1, 128, true, TENSOR_F32, 2, 1},
};
static const char *const files[] = {"layer-00000.safetensors", "layer-00001.safetensors"};
static struct str folder, scratch; /* scratch: files that tests damage */

static const char *in_folder(const char *name) {
    static struct str path;
    str_clear(&path);
    str_printf(&path, "%s/%s", folder.data, name);
    return path.data;
}

static uint64_t seed_of(int layer) {
    return layer < FIRST ? 7 + 16 * (uint64_t)layer : 99 + 16 * (uint64_t)(layer - FIRST);
}

static int set_up(void **state) {
    (void)state;
    const char *tmp = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
    str_printf(&folder, "%s/packed-%d", tmp, (int)getpid());
    str_printf(&scratch, "%s/scratch", folder.data);
    made(folder_make(folder.data));
    make_packed_file(in_folder(files[0]), layers, FIRST, 7);
    make_packed_file(in_folder(files[1]), layers + FIRST, LAYERS - FIRST, 99);
    make_packed_index(folder.data, files, 2, "tiny");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    unlink(in_folder(files[0]));
    unlink(in_folder(files[1]));
    unlink(in_folder(FOLDER_INDEX));
    unlink(scratch.data);
    const int gone = rmdir(folder.data);
    str_release(&folder);
    str_release(&scratch);
    return gone;
}

static void opened(const char *path, unsigned flags, struct mt_weights_file **out) {
    settled(mt_weights_open(path, flags, out));
}

static void refused(enum mt_status got, enum mt_status want, const char *says) {
    assert_int_equal(got, want);
    if (!strstr(mt_error_message(), says))
        fail_msg("'%s' does not say '%s'", mt_error_message(), says);
}

/* ---- what is good ---- */

static void assert_same_tensor(const void *a, size_t a_bytes, const void *b, size_t b_bytes) {
    assert_int_equal(a_bytes, b_bytes);
    assert_true(!a == !b);
    if (a)
        assert_memory_equal(a, b, a_bytes);
    assert_true((uintptr_t)a % 256 == 0);
}

/* The views hold what packing the same weights gives. */
static void check_layer(const struct mt_weights_file *file, int index) {
    const struct made_layer *from = &layers[index];
    struct mt_weights_info info = {.size = sizeof info}, again = {.size = sizeof again};
    struct mt_packed packed = {.size = sizeof packed}, *want;
    const struct mt_layer layer = {
        .problem = {
            .n = from->n, .k = from->k, .rows8 = from->rows8, .group = from->group, .symmetric = from->symmetric}};
    float *w = made_weights(from, seed_of(index));
    settled(mt_pack_float(&layer, w, NULL, &want));
    settled(mt_weights_at(file, index, &info));
    settled(mt_weights_layer(file, info.name, &again, &packed));
    assert_memory_equal(&info, &again, sizeof info);
    assert_true(!strncmp(info.name, from->block, strlen(from->block)) && !strcmp(info.layer, from->layer));
    assert_true(info.tp == 2 && info.rank == 1 && info.n == from->n && info.k == from->k);
    assert_true(info.rows8 == from->rows8 && info.rows8_chosen == from->rows8 - from->rows8 / 8);
    assert_true(info.group == from->group && info.symmetric == from->symmetric && info.layout == MT_LAYOUT);
    assert_int_equal(info.has_bias, from->bias != TENSOR_OTHER);
    assert_true(packed.layout == MT_LAYOUT && packed.rows8 == from->rows8 && packed.rows8_chosen == info.rows8_chosen);
    for (int i = 0; i < 2; i++) {
        assert_true(packed.rows[i] == want->rows[i] && packed.padded_rows[i] == want->padded_rows[i]);
        assert_same_tensor(packed.weights[i], packed.weights_bytes[i], want->weights_bytes[i] ? want->weights[i] : NULL,
                           want->weights_bytes[i]);
        assert_same_tensor(packed.scales[i], packed.scales_bytes[i], want->scales_bytes[i] ? want->scales[i] : NULL,
                           want->scales_bytes[i]);
        assert_same_tensor(packed.zeros[i], packed.zeros_bytes[i], want->zeros_bytes[i] ? want->zeros[i] : NULL,
                           want->zeros_bytes[i]);
        assert_same_tensor(packed.columns[i], packed.columns_bytes[i], want->columns_bytes[i] ? want->columns[i] : NULL,
                           want->columns_bytes[i]);
    }
    mt_packed_free(want);
    free(w);
}

static void layers_are_views(void **state) {
    (void)state;
    struct mt_weights_file *file;
    opened(folder.data, MT_WEIGHTS_CHECK, &file);
    assert_int_equal(mt_weights_count(file), LAYERS);
    for (int i = 0; i < LAYERS; i++)
        check_layer(file, i);
    mt_weights_close(file);
    opened(in_folder(files[0]), 0, &file); /* one file alone */
    assert_int_equal(mt_weights_count(file), FIRST);
    for (int i = 0; i < FIRST; i++)
        check_layer(file, i);
    mt_weights_close(file);
    mt_weights_close(NULL);
}

/* Every type of a source into both that are served. */
static void biases_are_converted(void **state) {
    (void)state;
    struct mt_weights_file *file;
    opened(folder.data, 0, &file);
    for (int i = 0; i < LAYERS; i++) {
        uint16_t to[300];
        struct mt_weights_info info = {.size = sizeof info};
        void *bias = made_bias(&layers[i], seed_of(i) + 1);
        settled(mt_weights_at(file, i, &info));
        for (enum mt_dtype dtype = MT_FP16; bias && dtype <= MT_BF16; dtype++) {
            settled(mt_weights_bias(file, info.name, dtype, to));
            for (int j = 0; j < info.n; j++) {
                const uint16_t half = ((uint16_t *)bias)[j];
                const float value = layers[i].bias == TENSOR_F32   ? ((float *)bias)[j]
                                    : layers[i].bias == TENSOR_F16 ? half_to_float(half)
                                                                   : bf16_to_float(half);
                assert_int_equal(to[j], dtype == MT_FP16 ? half_from_float(value) : bf16_from_float(value));
            }
        }
        if (!bias)
            refused(mt_weights_bias(file, info.name, MT_FP16, to), MT_USAGE, "has no bias");
        free(bias);
    }
    refused(mt_weights_bias(file, "model.layers.0.qkv", (enum mt_dtype)2, NULL), MT_USAGE, "dtype is 2");
    mt_weights_close(file);
}

static void what_is_not_there(void **state) {
    (void)state;
    struct mt_weights_file *file;
    struct mt_weights_info info = {.size = sizeof info, .n = 5}, unset = {0};
    struct mt_packed packed = {.size = sizeof packed, .rows8 = 5}, no_size = {0};
    refused(mt_weights_open(folder.data, 2, &file), MT_USAGE, "flags 0x2");
    assert_null(file);
    opened(folder.data, 0, &file);
    refused(mt_weights_layer(file, "lm_head", &info, &packed), MT_USAGE,
            "has no layer lm_head; it has 5: model.layers.0.qkv, model.layers.0.o, model.layers.0.down, "
            "model.layers.1.qkv, model.layers.1.experts.7.gate_up");
    assert_true(info.n == 0 && packed.rows8 == 0);
    for (int index = -1; index <= LAYERS; index += LAYERS + 1)
        refused(mt_weights_at(file, index, &info), MT_USAGE, " has 5, from 0 on");
    refused(mt_weights_at(file, 0, &unset), MT_USAGE, "a struct mt_weights_info has no size");
    refused(mt_weights_layer(file, "model.layers.0.o", &unset, &packed), MT_USAGE, "mt_weights_info has no size");
    refused(mt_weights_layer(file, "model.layers.0.o", NULL, &no_size), MT_USAGE, "mt_packed has no size");
    settled(mt_weights_layer(file, "model.layers.0.o", NULL, &packed));
    mt_weights_close(file);
    refused(mt_weights_open("/nowhere/at-all", 0, &file), MT_USAGE, "there is no folder /nowhere/at-all");
    assert_null(file);
}

/* ---- what is damaged: copies of the first file ---- */

static void write_scratch(const char *data, size_t size) {
    made(file_write_atomic(scratch.data, data, size));
}

/* The first file with one text of its header in place of another of the same length. */
static void scratch_with(const char *old, const char *new) {
    struct str text = {0};
    made(file_read(in_folder(files[0]), &text));
    char *at = memmem(text.data, text.length, old, strlen(old));
    assert_int_equal(strlen(old), strlen(new));
    if (!at)
        fail_msg("there is no %s", old);
    for (int i = 0; new[i]; i++)
        at[i] = new[i];
    write_scratch(text.data, text.length);
    str_release(&text);
}

static void lies_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *old, *new, *says;
    } lies[] = {
        {"\"version\":\"1\"", "\"version\":\"2\"", "has version 2 and layout 1 of packed checkpoints"},
        {"\"layout\":\"1\"", "\"layout\":\"9\"", "has version 1 and layout 9"},
        {"\\\"n\\\":96", "\\\"n\\\":95", "layer model.layers.0.qkv makes no sense"}, /* not the sum of the sources */
        {"\\\"k\\\":200", "\\\"k\\\":300", "has not the type, shape or alignment"},
        {"\\\"k\\\":200", "\\\"k\\\":-20", "makes no sense"},
        {"\\\"rows8\\\":33", "\\\"rows8\\\":17", "makes no sense"}, /* fewer than were chosen */
        {"\\\"rows8\\\":33", "\\\"rows8\\\":48", "has not the type, shape"},
        {"\\\"rows8\\\":33", "\\\"rows8\\\":97", "makes no sense"},
        {"\\\"group\\\":64", "\\\"group\\\":65", "makes no sense"},
        {"\\\"rank\\\":1", "\\\"rank\\\":2", "makes no sense"},
        {"\\\"symmetric\\\":false", "\\\"symmetric\\\":12345", "makes no sense"},
        {"\\\"layer\\\":\\\"qkv\\\"", "\\\"layer\\\":12,    ", "this is not JSON"},
        {"\"dtype\":\"I32\"", "\"dtype\":\"F32\"", "tensor model.layers.0.qkv.w8.columns has not the type"},
        {"model.layers.0.qkv.w4.scales", "model.layers.0.qkv.w4.scalex", "there is no tensor"},
        {"\"dtype\":\"BF16\"", "\"dtype\":\"I16\" ", "is no bias of 96 features"},
    };
    struct mt_weights_file *file;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        scratch_with(lies[i].old, lies[i].new);
        refused(mt_weights_open(scratch.data, 0, &file), MT_FAILURE, lies[i].says);
        assert_null(file);
    }
    scratch_with("\"format\":\"mixtune\"", "\"format\":\"mixture\"");
    refused(mt_weights_open(scratch.data, 0, &file), MT_USAGE, "is no packed checkpoint");
}

static void cut_files_are_refused(void **state) {
    (void)state;
    struct mt_weights_file *file;
    struct str text = {0};
    made(file_read(in_folder(files[0]), &text));
    for (size_t size = 0; size < text.length; size += size < 4096 ? 61 : 1999) {
        write_scratch(text.data, size);
        assert_int_equal(mt_weights_open(scratch.data, MT_WEIGHTS_CHECK, &file), MT_FAILURE);
        assert_null(file);
    }
    str_release(&text);
    unlink(scratch.data);
    assert_int_equal(mkfifo(scratch.data, 0600), 0);
    assert_int_not_equal(mt_weights_open(scratch.data, 0, &file), MT_OK);
    unlink(scratch.data);
}

/* Writes at `offset` bytes from where the tensor lies. */
static void scratch_patched(const char *tensor, size_t offset, const void *bytes, size_t count) {
    struct tensor_file file;
    struct str text = {0};
    made(file_read(in_folder(files[0]), &text));
    made(tensor_file_open(in_folder(files[0]), &file));
    for (int i = 0; i < file.count; i++)
        if (!strcmp(file.tensor[i].name, tensor)) {
            assert_true(offset + count <= file.tensor[i].bytes);
            memcpy(text.data + (file.tensor[i].data - file.map) + offset, bytes, count);
        }
    tensor_file_close(&file);
    write_scratch(text.data, text.length);
    str_release(&text);
}

static void changed_bytes_are_found(void **state) {
    (void)state;
    static const struct {
        const char *tensor;
        size_t offset;
        int32_t value;
        bool columns; /* found without hashes, too */
    } changes[] = {
        {"model.layers.0.qkv.w8.columns", 0, 96, true},      /* beyond the layer */
        {"model.layers.0.qkv.w4.columns", 62 * 4, 96, true}, /* the last, which nothing follows */
        {"model.layers.0.qkv.w8.columns", 0, -1, true},      /* before it */
        {"model.layers.0.qkv.w8.columns", 0, 1, true},       /* one that a feature with 4 bits has, too */
        {"model.layers.0.qkv.w4.columns", 0, 5, true},       /* out of order */
        {"model.layers.0.qkv.w4.blocks", 0, 0x12345678, false},  {"model.layers.0.o.w4.zeros", 0, 0x01020304, false},
        {"model.layers.0.down.w8.scales", 0, 0x12345678, false},
    };
    struct mt_weights_file *file;
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        struct mt_packed packed = {.size = sizeof packed};
        char name[64];
        snprintf(name, sizeof name, "%s", changes[i].tensor);
        *strstr(name, ".w") = 0;
        scratch_patched(changes[i].tensor, changes[i].offset, &changes[i].value, sizeof changes[i].value);
        opened(scratch.data, 0, &file);
        if (changes[i].columns)
            refused(mt_weights_layer(file, name, NULL, &packed), MT_FAILURE,
                    "do not name each of its 96 features once");
        else
            settled(mt_weights_layer(file, name, NULL, &packed));
        assert_true(changes[i].columns == !packed.layout);
        mt_weights_close(file);
        refused(mt_weights_open(scratch.data, MT_WEIGHTS_CHECK, &file), MT_FAILURE, changes[i].tensor);
        assert_null(file);
    }
}

/* Beyond what the served type has: 1e5 is too much for fp16. */
static void biases_that_do_not_fit(void **state) {
    (void)state;
    struct mt_weights_file *file;
    uint16_t to[33];
    const float large = 1e5f, none = NAN;
    scratch_patched("model.layers.0.down.bias", 31 * sizeof large, &large, sizeof large);
    opened(scratch.data, 0, &file);
    refused(mt_weights_bias(file, "model.layers.0.down", MT_FP16, to), MT_FAILURE,
            "at feature 31 is 100000, which fp16 cannot hold; serve the model in bf16");
    assert_true(to[0] == 0 && to[31] == 0);
    settled(mt_weights_bias(file, "model.layers.0.down", MT_BF16, to));
    assert_int_equal(to[31], bf16_from_float(large));
    mt_weights_close(file);
    scratch_patched("model.layers.0.down.bias", 0, &none, sizeof none);
    opened(scratch.data, 0, &file);
    refused(mt_weights_bias(file, "model.layers.0.down", MT_BF16, to), MT_FAILURE, "the source is damaged");
    mt_weights_close(file);
}

/* A folder of schemes and ranks is none itself, and says which is. */
static void ranks_are_named(void **state) {
    (void)state;
    struct mt_weights_file *file;
    struct str outer = {0}, inner = {0}, says = {0};
    str_printf(&outer, "%s-ranks", folder.data);
    str_printf(&inner, "%s/p10/rank-0-of-2", outer.data);
    made(folder_make(inner.data));
    refused(mt_weights_open(outer.data, 0, &file), MT_USAGE, "has neither model.safetensors.index.json nor");
    str_printf(&says, "such as %s", inner.data);
    str_append(&inner, "/" FOLDER_INDEX);
    made(file_write_atomic(inner.data, "{}", 2));
    refused(mt_weights_open(outer.data, 0, &file), MT_USAGE, says.data);
    unlink(inner.data);
    inner.data[strlen(inner.data) - strlen("/" FOLDER_INDEX)] = 0;
    rmdir(inner.data);
    *strrchr(inner.data, '/') = 0;
    refused(mt_weights_open(outer.data, 0, &file), MT_USAGE, "has neither model.safetensors.index.json nor");
    rmdir(inner.data);
    rmdir(outer.data);
    str_release(&outer);
    str_release(&inner);
    str_release(&says);
}

/* ---- threads ---- */

static void *read_all(void *given) {
    const struct mt_weights_file *file = given;
    intptr_t failures = 0;
    for (int i = 0; i < 200; i++) {
        struct mt_weights_info info = {.size = sizeof info};
        struct mt_packed packed = {.size = sizeof packed};
        uint16_t bias[300];
        failures += mt_weights_at(file, i % LAYERS, &info) != MT_OK;
        failures += mt_weights_layer(file, info.name, &info, &packed) != MT_OK;
        failures += info.has_bias && mt_weights_bias(file, info.name, MT_BF16, bias) != MT_OK;
        failures += mt_weights_layer(file, "none", NULL, &packed) != MT_USAGE;
    }
    return (void *)failures;
}

static void many_threads_read(void **state) {
    (void)state;
    enum { THREADS = 4 };
    pthread_t thread[THREADS];
    struct mt_weights_file *file;
    opened(folder.data, 0, &file);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, read_all, file), 0);
    for (int i = 0; i < THREADS; i++) {
        void *failures;
        pthread_join(thread[i], &failures);
        assert_null(failures);
    }
    mt_weights_close(file);
}

/* ---- to the device ---- */

static struct {
    char memory[1 << 16];
    size_t bytes;
    int copies;
} device;

static CUresult note_alloc(CUdeviceptr *out, size_t bytes) {
    assert_true(bytes <= sizeof device.memory);
    device.bytes = bytes;
    device.copies = 0;
    *out = (CUdeviceptr)(uintptr_t)device.memory;
    return CUDA_SUCCESS;
}

static CUresult note_copy(CUdeviceptr to, const void *from, size_t bytes) {
    assert_true(to + bytes <= (CUdeviceptr)(uintptr_t)device.memory + device.bytes);
    memcpy((void *)(uintptr_t)to, from, bytes);
    device.copies++;
    return CUDA_SUCCESS;
}

static CUresult note_free(CUdeviceptr address) {
    (void)address;
    return CUDA_SUCCESS;
}

static void assert_on_device(CUdeviceptr at, const void *want, size_t bytes) {
    assert_true(!at == !bytes);
    if (bytes)
        assert_memory_equal((const void *)(uintptr_t)at, want, bytes);
}

/* A layer of a file goes over in one copy; one whose tensors lie elsewhere, tensor by tensor. */
static void layers_are_copied_at_once(void **state) {
    (void)state;
    struct mt_table table = {.dev.drv = {.MemAlloc = note_alloc, .MemcpyHtoD = note_copy, .MemFree = note_free}};
    struct mt_weights_file *file;
    opened(folder.data, 0, &file);
    for (int i = 0; i < LAYERS; i++) {
        struct mt_weights_info info = {.size = sizeof info};
        struct mt_packed packed = {.size = sizeof packed};
        settled(mt_weights_at(file, i, &info));
        settled(mt_weights_layer(file, info.name, &info, &packed));
        for (int apart = 0; apart < 2; apart++) {
            const int width = info.rows8 < info.n; /* of both where there are both: the last */
            struct mt_weights w = {.size = sizeof w};
            char *moved = xmalloc(packed.scales_bytes[width]);
            memcpy(moved, packed.scales[width], packed.scales_bytes[width]);
            if (apart)
                packed.scales[width] = moved;
            assert_int_equal(mt_weights_upload(&table, &packed, &w), MT_OK);
            assert_true(apart ? device.copies > 1 : device.copies == 1);
            assert_true(w.rows[0] == info.rows8 && w.rows[1] == info.n - info.rows8);
            for (int part = 0; part < 2; part++) {
                assert_on_device(w.weights[part], packed.weights[part], packed.weights_bytes[part]);
                assert_on_device(w.scales[part], packed.scales[part], packed.scales_bytes[part]);
                assert_on_device(w.zeros[part], packed.zeros[part], packed.zeros_bytes[part]);
                assert_on_device(w.columns[part], packed.columns[part], packed.columns_bytes[part]);
            }
            mt_weights_free(&table, &w);
            free(moved);
        }
    }
    mt_weights_close(file);
}

/* ---- the layer of the bundle ---- */

static struct mt_layer tuned(const char *name, int tp, int rows8) {
    struct mt_layer layer = {.info = {.size = sizeof layer.info, .name = name, .model = "tiny", .tp = tp},
                             .problem = {.n = 96, .k = 200, .rows8 = rows8, .group = 64},
                             .loaded = true};
    return layer;
}

static void has_layers(struct mt_table *table, int count) {
    index_release(table);
    table->layer_count = count;
    assert_int_equal(index_make(table), MT_OK);
}

static void layers_are_found_by_name(void **state) {
    (void)state;
    struct mt_layer own[] = {tuned("o", 2, 33), tuned("qkv", 2, 16), tuned("qkv", 1, 33), tuned("qkv", 2, 33)};
    struct mt_table table = {.layers = own, .lock = PTHREAD_MUTEX_INITIALIZER};
    struct mt_weights_info info = {.size = sizeof info}, unset = {0};
    const struct mt_layer *found;
    struct mt_weights_file *file;
    opened(folder.data, 0, &file);
    settled(mt_weights_at(file, 0, &info));
    has_layers(&table, 4);
    settled(mt_table_layer_for(&table, &info, MT_FP16, &found));
    assert_ptr_equal(found, &own[3]);
    has_layers(&table, 3); /* another number of ranks, but the same layer */
    settled(mt_table_layer_for(&table, &info, MT_FP16, &found));
    assert_ptr_equal(found, &own[2]);
    has_layers(&table, 1); /* another name */
    settled(mt_table_layer_for(&table, &info, MT_FP16, &found));
    assert_ptr_equal(found, &own[0]);
    refused(mt_table_layer_for(&table, &info, MT_BF16, &found), MT_USAGE, "no kernel for mixed, ");
    assert_null(found);
    info.rows8 = 97;
    refused(mt_table_layer_for(&table, &info, MT_FP16, &found), MT_USAGE, "97 of 96 output features");
    assert_null(found);
    refused(mt_table_layer_for(&table, &unset, MT_FP16, &found), MT_USAGE, "mt_weights_info has no size");
    index_release(&table);
    mt_weights_close(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_are_views),         cmocka_unit_test(biases_are_converted),
        cmocka_unit_test(what_is_not_there),        cmocka_unit_test(lies_are_refused),
        cmocka_unit_test(cut_files_are_refused),    cmocka_unit_test(changed_bytes_are_found),
        cmocka_unit_test(biases_that_do_not_fit),   cmocka_unit_test(ranks_are_named),
        cmocka_unit_test(many_threads_read),        cmocka_unit_test(layers_are_copied_at_once),
        cmocka_unit_test(layers_are_found_by_name),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
