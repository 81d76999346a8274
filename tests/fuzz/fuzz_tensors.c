/* What libFuzzer gives is read as a safetensors file, or as a part of a packed checkpoint: the first byte says
 * which. */
#include "tests/unit/checkpoint/make_packed.h"

#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* KIND_FILE: the bytes of a file. KIND_HEADER: its header up to a 0, then its data; the length before it is right.
 * KIND_INDEX: the index of a folder with one good file. KIND_LAYER: what the metadata of that file say of its layer. */
enum { KIND_FILE, KIND_HEADER, KIND_INDEX, KIND_LAYER, KINDS };

static const struct made_layer good_layer = {"l.0", "qkv", 17, 70, 3, 64, false, TENSOR_BF16, 1, 0};

/* A folder with an index and a file; the index is a link to a file in memory, which each input is written to. */
static struct {
    char folder[200], file[240], index[240], memory[40];
    int fd;
    json_t *header; /* of the good file */
    struct str data;
} world;

static void world_end(void) {
    unlink(world.file);
    unlink(world.index);
    rmdir(world.folder);
    json_decref(world.header);
    str_release(&world.data);
}

static void world_begin(void) {
    struct str text = {0};
    uint64_t length;
    const char *tmp = getenv("TMPDIR");
    snprintf(world.folder, sizeof world.folder, "%.180s/tensors-XXXXXX", tmp ? tmp : "/tmp");
    world.fd = memfd_create("input", MFD_CLOEXEC);
    if (world.fd < 0 || !mkdtemp(world.folder))
        abort();
    snprintf(world.file, sizeof world.file, "%s/a.safetensors", world.folder);
    snprintf(world.index, sizeof world.index, "%s/" FOLDER_INDEX, world.folder);
    snprintf(world.memory, sizeof world.memory, "/proc/self/fd/%d", world.fd);
    make_packed_file(world.file, &good_layer, 1, 1);
    if (symlink(world.memory, world.index) != 0)
        abort();
    made(file_read(world.file, &text));
    memcpy(&length, text.data, sizeof length);
    world.header = json_loadb(text.data + sizeof length, length, 0, NULL);
    str_append_bytes(&world.data, text.data + sizeof length + length, text.length - sizeof length - length);
    str_release(&text);
    atexit(world_end);
}

static void put(const void *data, size_t size) {
    if (ftruncate(world.fd, 0) != 0 || pwrite(world.fd, data, size, 0) != (ssize_t)size)
        abort();
}

static void put_file(const char *header, size_t length, const void *data, size_t size) {
    struct str text = {0};
    str_append_bytes(&text, &(uint64_t){length}, sizeof(uint64_t));
    str_append_bytes(&text, header, length);
    str_append_bytes(&text, data, size);
    put(text.data, text.length);
    str_release(&text);
}

static void put_input(int kind, const uint8_t *data, size_t size) {
    const uint8_t *end = memchr(data, 0, size);
    const size_t length = end ? (size_t)(end - data) : size;
    if (kind == KIND_HEADER) {
        put_file((const char *)data, length, data + length + (end != NULL), size - length - (end != NULL));
    } else if (kind == KIND_LAYER) {
        json_t *text = json_stringn((const char *)data, length); /* NULL where it is no UTF-8 */
        json_object_set_new(json_object_get(world.header, "__metadata__"), "l.0.qkv", text ? text : json_string("{}"));
        char *header = json_dumps(world.header, JSON_COMPACT);
        put_file(header, strlen(header), world.data.data, world.data.length);
        free(header);
    } else {
        put(data, size);
    }
}

static unsigned sum_of(const struct tensor *t) {
    unsigned sum = 0;
    for (size_t i = 0; i < t->bytes; i++)
        sum += t->data[i];
    return sum;
}

/* All of it is read; what a refusal says is one sentence of text. */
static void check_status(enum mt_status status) {
    const char *says = fail_message();
    if (status && (!*says || strpbrk(says, "\n\r\033")))
        abort();
}

static unsigned read_file(const char *path) {
    struct tensor_file file;
    unsigned sum = 0;
    enum mt_status status = tensor_file_open(path, &file);
    check_status(status);
    for (int i = 0; !status && i < file.count; i++) {
        const struct tensor *t = &file.tensor[i];
        const size_t count = t->bytes && tensor_type_bytes(t->type) ? t->bytes / tensor_type_bytes(t->type) : 0;
        float few[4] = {0};
        if (t->type == TENSOR_F32 || t->type == TENSOR_F16 || t->type == TENSOR_BF16)
            tensor_floats(t, count > 4 ? count - 4 : 0, count > 4 ? 4 : count, few);
        sum += sum_of(t) + (few[0] > 0);
    }
    for (int i = 0; !status && tensor_file_key(&file, i); i++)
        if (!tensor_file_text(&file, tensor_file_key(&file, i)))
            abort();
    if (!status)
        tensor_file_close(&file);
    return sum;
}

static unsigned read_packed(const char *path) {
    struct packed_folder packed;
    unsigned sum = 0;
    enum mt_status status = packed_open(path, &packed);
    check_status(status);
    for (int i = 0; !status && i < packed.count; i++) {
        const struct packed_layer *layer = &packed.layer[i];
        if (packed_find(&packed, layer->name) != layer)
            abort();
        check_status(packed_check_columns(&packed, layer));
        check_status(packed_check_hashes(&packed, layer));
        for (int j = 0; j < 2 * PACKED_KINDS; j++) {
            const struct tensor *t = layer->tensor[j / PACKED_KINDS][j % PACKED_KINDS];
            if (t && t->bytes != packed_tensor_bytes(layer, j / PACKED_KINDS, (enum packed_kind)(j % PACKED_KINDS)))
                abort();
            sum += t ? sum_of(t) : 0;
        }
    }
    if (!status)
        packed_close(&packed);
    return sum;
}

static volatile unsigned sums; /* so that what is read is read */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!world.header)
        world_begin();
    if (size == 0)
        return 0;
    const int kind = data[0] % KINDS;
    put_input(kind, data + 1, size - 1);
    if (kind == KIND_INDEX)
        sums = read_packed(world.folder);
    else
        sums = read_file(world.memory) + read_packed(world.memory);
    return 0;
}
