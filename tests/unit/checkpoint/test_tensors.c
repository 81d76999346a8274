/* Files and folders of tensors: what lies is refused with a sentence, and what is written is whole or not there. */
#include "make_packed.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

static struct str folder;

static const char *in_folder(const char *name) {
    static struct str path[4];
    static int next;
    struct str *own = &path[next++ % 4];
    str_clear(own);
    str_printf(own, "%s/%s", folder.data, name);
    return own->data;
}

static void clear(void) {
    struct str command = {0};
    str_printf(&command, "rm -rf '%s' && mkdir '%s'", folder.data, folder.data);
    assert_int_equal(system(command.data), 0);
    str_release(&command);
}

static int set_up(void **state) {
    (void)state;
    str_printf(&folder, "%s/tensors-%d", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (int)getpid());
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    clear();
    const int gone = rmdir(folder.data);
    str_release(&folder);
    return gone;
}

static int each_begins(void **state) {
    (void)state;
    clear();
    return 0;
}

static void says(const char *words) {
    if (!strstr(fail_message(), words))
        fail_msg("'%s' does not say '%s'", fail_message(), words);
    for (const char *at = fail_message(); *at; at++)
        assert_true((unsigned char)*at >= ' ');
}

/* ---- headers ---- */

/* A file with this header and so many bytes of data, 0, 1, 2 … */
static void write_file(const char *name, const char *header, size_t bytes) {
    struct str text = {0};
    const uint64_t length = strlen(header);
    str_append_bytes(&text, &length, sizeof length);
    str_append(&text, header);
    for (size_t i = 0; i < bytes; i++)
        str_append_bytes(&text, &(char){(char)i}, 1);
    made(file_write_atomic(in_folder(name), text.data, text.length));
    str_release(&text);
}

static void refused(const char *words) {
    struct tensor_file file;
    assert_int_equal(tensor_file_open(in_folder("a.safetensors"), &file), MT_FAILURE);
    assert_true(!file.map && !file.header && !file.tensor && file.count == 0);
    says(in_folder("a.safetensors"));
    says(words);
}

static void good_headers(void **state) {
    (void)state;
    struct tensor_file file;
    float few[4];
    write_file(
        "a.safetensors",
        "{\"z\": "
        "{\"dtype\":\"F16\",\"shape\":[2,3],\"data_offsets\":[4,16]},\"__metadata__\":{\"format\":\"pt\",\"b\":\"\"},"
        "\"scalar\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
        "\"none\":{\"dtype\":\"I64\",\"shape\":[0,9223372036854775807],\"data_offsets\":[16,16]},"
        "\"odd\":{\"dtype\":\"F8_E5M2\",\"shape\":[3],\"data_offsets\":[16,19]},"
        "\"b\":{\"dtype\":\"BF16\",\"shape\":[1,1,1,1,1,1,1,1],\"data_offsets\":[19,21]}}   ",
        21);
    made(tensor_file_open(in_folder("a.safetensors"), &file));
    static const struct {
        const char *name;
        enum tensor_type type;
        int rank;
        size_t bytes;
    } want[] = {{"scalar", TENSOR_F32, 0, 4},
                {"z", TENSOR_F16, 2, 12},
                {"none", TENSOR_I64, 2, 0},
                {"odd", TENSOR_OTHER, 1, 3},
                {"b", TENSOR_BF16, 8, 2}};
    assert_int_equal(file.count, 5);
    for (int i = 0; i < 5; i++) { /* in the order of their bytes, the empty ones first */
        const struct tensor *t = &file.tensor[i];
        assert_string_equal(t->name, want[i].name);
        assert_true(t->type == want[i].type && t->rank == want[i].rank && t->bytes == want[i].bytes);
    }
    assert_string_equal(file.tensor[3].type_name, "F8_E5M2");
    assert_int_equal(file.tensor[1].shape[1], 3);
    tensor_floats(&file.tensor[1], 4, 2, few); /* bytes 12, 13 and 14, 15 */
    assert_true(few[0] == half_to_float(0x0d0c) && few[1] == half_to_float(0x0f0e));
    tensor_floats(&file.tensor[4], 0, 1, few);
    assert_true(few[0] == bf16_to_float(0x1413));
    assert_string_equal(tensor_file_text(&file, "format"), "pt");
    assert_null(tensor_file_text(&file, "none"));
    const char *key = tensor_file_key(&file, 0);
    assert_string_equal(key, "format");
    assert_string_equal(tensor_file_key(&file, 1), "b");
    assert_null(tensor_file_key(&file, 2));
    tensor_drop(&file.tensor[1]);
    assert_int_equal(file.tensor[1].data[0], 4);
    tensor_file_close(&file);
    write_file("a.safetensors", "{}", 0);
    made(tensor_file_open(in_folder("a.safetensors"), &file));
    assert_true(file.count == 0 && !tensor_file_key(&file, 0) && !tensor_file_text(&file, "a"));
    tensor_file_close(&file);
}

/* Floats are read in the map where they are aligned, whatever comes before them; anything else is copied. */
static void views(void **state) {
    struct tensor_file file;
    struct str header = {0};
    float buffer[2], want[2];
    (void)state;
    str_append(&header, "{\"f\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]},"
                        "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[12,14]},"
                        "\"g\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[14,22]},"
                        "\"h\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[22,26]}}");
    while (header.length % sizeof(float))
        str_append(&header, " ");
    write_file("a.safetensors", header.data, 26);
    str_release(&header);
    made(tensor_file_open(in_folder("a.safetensors"), &file));
    const struct tensor *const tensor[] = {&file.tensor[0], &file.tensor[2], &file.tensor[3]};
    for (int i = 0; i < 3; i++) {
        const size_t first = i == 0, count = i == 2 ? 1 : 2;
        const float *view = tensor_view(tensor[i], first, count, buffer);
        tensor_floats(tensor[i], first, count, want);
        assert_memory_equal(view, want, count * sizeof *want);
        assert_int_equal(view != buffer, i == 0);
    }
    tensor_file_close(&file);
}

#define TENSOR(name, type, shape, offsets)                                                                             \
    "\"" name "\":{\"dtype\":" type ",\"shape\":" shape ",\"data_offsets\":" offsets "}"
static const struct {
    const char *header;
    size_t bytes;
    const char *words;
} lies[] = {
    /* places */
    {"{" TENSOR("a", "\"U8\"", "[4]", "[0,4]") "," TENSOR("b", "\"U8\"", "[4]", "[3,7]") "}", 7,
     "tensor b overlaps the one before it"},
    {"{" TENSOR("a", "\"U8\"", "[4]", "[0,4]") "," TENSOR("b", "\"U8\"", "[4]", "[0,4]") "}", 4, "overlaps"},
    {"{" TENSOR("a", "\"U8\"", "[4]", "[0,4]") "," TENSOR("b", "\"U8\"", "[4]", "[5,9]") "}", 9,
     "tensor b does not follow the one before it"},
    {"{" TENSOR("a", "\"U8\"", "[4]", "[1,5]") "}", 5, "tensor a does not follow"},
    {"{" TENSOR("a", "\"U8\"", "[4]", "[0,4]") "}", 5, "1 bytes after the last tensor belong to none"},
    {"{" TENSOR("a", "\"U8\"", "[4]", "[0,4]") "}", 3, "is cut short: tensor a ends at byte 4 of the data"},
    {"{" TENSOR("a", "\"U8\"", "[4]", "[4,0]") "}", 4, "tensor a has no dtype, shape"},
    {"{" TENSOR("a", "\"U8\"", "[4]", "[9223372036854775803,9223372036854775807]") "}", 4, "is cut short"},
    {"{" TENSOR("a", "\"U8\"", "[0]", "[2,2]") "," TENSOR("b", "\"U8\"", "[4]", "[0,4]") "}", 4, "overlaps"},
    {"{}", 1, "1 bytes after the last tensor"},
    /* shapes and types */
    {"{" TENSOR("a", "\"F32\"", "[2]", "[0,4]") "}", 4,
     "tensor a has 4 bytes, which is not what its shape and type F32 need"},
    {"{" TENSOR("a", "\"U8\"", "[4,0]", "[0,4]") "}", 4, "has 4 bytes, which is not"},
    {"{" TENSOR("a", "\"U8\"", "[4294967296,4294967296]", "[0,0]") "}", 0, "has 0 bytes, which is not"},
    {"{" TENSOR("a", "\"F64\"", "[2305843009213693952]", "[0,0]") "}", 0, "has 0 bytes, which is not"},
    {"{" TENSOR("a", "\"F64\"", "[9223372036854775807,3]", "[0,8]") "}", 8, "has 8 bytes, which is not"},
    {"{" TENSOR("a", "\"U8\"", "[-4]", "[0,4]") "}", 4, "has no dtype, shape of at most 8 numbers"},
    {"{" TENSOR("a", "\"U8\"", "[4.0]", "[0,4]") "}", 4, "has no dtype, shape"},
    {"{" TENSOR("a", "\"U8\"", "[\"4\"]", "[0,4]") "}", 4, "has no dtype, shape"},
    {"{" TENSOR("a", "\"U8\"", "4", "[0,4]") "}", 4, "has no dtype, shape"},
    {"{" TENSOR("a", "\"U8\"", "[1,1,1,1,1,1,1,1,4]", "[0,4]") "}", 4, "has no dtype, shape of at most 8 numbers"},
    {"{" TENSOR("a", "\"U8\"", "[4]", "[0]") "}", 4, "has no dtype, shape"},
    {"{" TENSOR("a", "\"U8\"", "[4]", "[0,4,4]") "}", 4, "has no dtype, shape"},
    {"{" TENSOR("a", "\"U8\"", "[4]", "[-1,4]") "}", 4, "has no dtype, shape"},
    {"{" TENSOR("a", "\"U8\"", "[4]", "[0.0,4]") "}", 4, "has no dtype, shape"},
    {"{" TENSOR("a", "8", "[4]", "[0,4]") "}", 4, "has no dtype, shape"},
    {"{" TENSOR("a", "\"U\\n8\"", "[4]", "[0,4]") "}", 4, "has no dtype, shape"},
    {"{\"a\":4}", 4, "has no dtype, shape"},
    {"{\"a\":{}}", 4, "has no dtype, shape"},
    /* names and texts */
    {"{" TENSOR("a\\u001b[2J", "\"U8\"", "[4]", "[0,4]") "}", 4, "the name of a tensor has control characters"},
    {"{" TENSOR("a\\u0000", "\"U8\"", "[4]", "[0,4]") "}", 4, "this is not JSON"},
    {"{" TENSOR("a", "\"U8\"", "[2]", "[0,2]") "," TENSOR("a", "\"U8\"", "[2]", "[2,4]") "}", 4, "twice"},
    {"{\"__metadata__\":\"text\"}", 0, "__metadata__ is no object"},
    {"{\"__metadata__\":[]}", 0, "__metadata__ is no object"},
    {"{\"__metadata__\":{\"n\":4}}", 0, "a value of its __metadata__ is no text"},
    {"{\"__metadata__\":{\"n\":{\"m\":\"\"}}}", 0, "a value of its __metadata__ is no text"},
    {"{\"__metadata__\":{\"a\\tb\":\"\"}}", 0, "its name has control characters"},
    /* no JSON */
    {"{\"a\":", 0, "this is not JSON"},
    {"{\"a\"\n\n:\x1b]", 0, "this is not JSON"},
    {"{} {}", 0, "this is not JSON"},
    {"{\"\xff\xfe\":1}", 0, "this is not JSON"},
    {"[]", 0, "is no safetensors file"},
    {" {}", 0, "is no safetensors file"},
    {"{", 0, "is no safetensors file"},
    {"", 0, "is no safetensors file"},
};

static void lies_of_headers(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        write_file("a.safetensors", lies[i].header, lies[i].bytes);
        refused(lies[i].words);
    }
}

/* So many brackets that reading them one within another would take all of the stack. */
static void deep_headers(void **state) {
    (void)state;
    enum { DEEP = 2000000 };
    static const char *const openings[] = {"[", "{\"a\":"};
    for (int i = 0; i < 2; i++) {
        struct str text = {0};
        str_append(&text, "{\"a\":");
        while (text.length < DEEP)
            str_append(&text, openings[i]);
        write_file("a.safetensors", text.data, 0);
        str_release(&text);
        refused("this is not JSON");
    }
}

static void lengths_of_headers(void **state) {
    (void)state;
    static const uint64_t lengths[] = {
        0, 1, 3, 32 << 20, (32 << 20) + 1, (uint64_t)1 << 63, UINT64_MAX, UINT64_MAX - 7};
    static const char *const words[] = {"is no safetensors file",
                                        "is no safetensors file",
                                        "is cut short: its header has 3 bytes and the file 10",
                                        "is cut short: its header has 33554432 bytes",
                                        "is no safetensors file",
                                        "is no safetensors file",
                                        "is no safetensors file",
                                        "is no safetensors file"};
    for (int i = 0; i < 8; i++) {
        char bytes[10] = {0};
        memcpy(bytes, &lengths[i], 8);
        memcpy(bytes + 8, (const char[]){'{', '}'}, 2);
        made(file_write_atomic(in_folder("a.safetensors"), bytes, sizeof bytes));
        refused(words[i]);
        if (i == 2) /* of fewer than the 8 bytes of the length */
            for (size_t size = 0; size <= 8; size++) {
                made(file_write_atomic(in_folder("a.safetensors"), bytes, size));
                refused(size < 8 ? "is no safetensors file" : "");
            }
    }
}

static void what_is_no_file(void **state) {
    (void)state;
    refused("cannot open");
    assert_int_equal(mkfifo(in_folder("a.safetensors"), 0600), 0);
    refused("is no safetensors file"); /* and does not wait for a writer */
    unlink(in_folder("a.safetensors"));
    assert_int_equal(mkdir(in_folder("a.safetensors"), 0700), 0);
    refused("is no safetensors file");
    rmdir(in_folder("a.safetensors"));
    assert_int_equal(symlink("/dev/zero", in_folder("a.safetensors")), 0);
    refused("is no safetensors file");
    unlink(in_folder("a.safetensors"));
    assert_int_equal(symlink("a.safetensors", in_folder("a.safetensors")), 0);
    refused("cannot open");
}

/* ---- folders ---- */

static void write_text(const char *name, const char *text) {
    made(file_write_atomic(in_folder(name), text, strlen(text)));
}

static void folder_refused(const char *index, const char *words) {
    struct folder out;
    write_text(FOLDER_INDEX, index);
    assert_int_equal(folder_open(folder.data, &out), MT_FAILURE);
    assert_true(!out.file && !out.tensor && !out.index.count);
    says(words);
}

/* "[]," takes fifty times its bytes: 8 million of them are 24 MB of text, and more than a GiB. */
static void values_that_take_gigabytes(void **state) {
    (void)state;
    enum { VALUES = 8000000 };
    struct str text = {0};
    struct folder out;
    str_reserve(&text, 3 * VALUES + 20);
    str_append(&text, "{\"weight_map\":[");
    for (int i = 0; i < VALUES; i++)
        memcpy(text.data + text.length + 3 * (size_t)i, "[],", 3);
    text.length += 3 * VALUES;
    str_append(&text, "0]}");
    FILE *f = fopen(in_folder(FOLDER_INDEX), "w"); /* not flushed to disk, which takes a second */
    assert_non_null(f);
    assert_int_equal(fwrite(text.data, 1, text.length, f), text.length);
    fclose(f);
    assert_int_equal(folder_open(folder.data, &out), MT_FAILURE);
    says("has more than 2097152 values of JSON");
    unlink(in_folder(FOLDER_INDEX));
    str_release(&text);
}

static void write_shards(void) {
    write_file("1.safetensors",
               "{" TENSOR("a", "\"U8\"", "[2]", "[0,2]") "," TENSOR("pad.0", "\"U8\"", "[1]", "[2,3]") "}", 3);
    write_file("2.safetensors",
               "{" TENSOR("b", "\"I8\"", "[4]", "[0,4]") "," TENSOR("pad.0", "\"U8\"", "[2]", "[4,6]") "}", 6);
}

static void good_folders(void **state) {
    (void)state;
    struct folder out;
    write_shards();
    write_text(
        FOLDER_INDEX,
        "{\"metadata\":{\"model\":\"m\",\"n\":1},\"weight_map\":{\"b\":\"2.safetensors\",\"a\":\"1.safetensors\"}}");
    made(folder_open(folder.data, &out));
    assert_true(out.file_count == 2 && out.count == 4);                /* every file has a pad.0 */
    assert_string_equal(out.file[0].path, in_folder("1.safetensors")); /* whatever the index says first */
    assert_int_equal(folder_find(&out, "a")->bytes, 2);
    assert_int_equal(folder_find(&out, "b")->type, TENSOR_I8);
    assert_null(folder_find(&out, "c"));
    assert_string_equal(folder_text(&out, "model"), "m");
    assert_true(!folder_text(&out, "n") && !folder_text(&out, "scheme"));
    folder_close(&out);
    made(folder_open(in_folder("2.safetensors"), &out)); /* a file alone, and what it is in */
    assert_true(out.file_count == 1 && !folder_find(&out, "a") && folder_find(&out, "b"));
    assert_string_equal(out.path.data, folder.data);
    assert_null(folder_text(&out, "model"));
    folder_close(&out);
    unlink(in_folder(FOLDER_INDEX));
    assert_int_equal(folder_open(folder.data, &out), MT_USAGE);
    says("has neither model.safetensors.index.json nor model.safetensors");
    assert_int_equal(rename(in_folder("2.safetensors"), in_folder("model.safetensors")), 0);
    made(folder_open(folder.data, &out));
    assert_true(out.count == 2 && folder_find(&out, "b"));
    folder_close(&out);
    assert_int_equal(folder_open(in_folder("nothing"), &out), MT_USAGE);
    says("there is no folder");
}

static void lies_of_indexes(void **state) {
    (void)state;
    write_shards();
    folder_refused("{\"weight_map\":{\"a\":\"1.safetensors\",\"c\":\"3.safetensors\"}}", "3.safetensors is missing");
    folder_refused("{\"weight_map\":{\"a\":\"1.safetensors\",\"c\":\"2.safetensors\"}}",
                   "names a tensor c, which 2.safetensors does not have");
    folder_refused("{\"weight_map\":{\"a\":\"../1.safetensors\"}}", "is not the name of one beside it");
    folder_refused("{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "is not the name of one beside it");
    folder_refused("{\"weight_map\":{\"a\":\".hidden\"}}", "is not the name of one beside it");
    folder_refused("{\"weight_map\":{\"a\":\"\"}}", "is not the name of one beside it");
    folder_refused("{\"weight_map\":{\"a\":7}}", "is not the name of one beside it");
    folder_refused("{\"weight_map\":{\"a\":\"1\\u001b.safetensors\"}}", "control characters");
    folder_refused("{\"weight_map\":{\"a\\n\":\"1.safetensors\"}}", "control characters");
    folder_refused("{\"weight_map\":{}}", "has no weight_map");
    folder_refused("{\"weight_map\":[]}", "has no weight_map");
    folder_refused("[]", "has no weight_map");
    folder_refused("{\"weight_map\":\n{", "this is not JSON");
    folder_refused("", "this is not JSON");
    /* A tensor in two files. */
    write_file("2.safetensors", "{" TENSOR("a", "\"I8\"", "[4]", "[0,4]") "," TENSOR("b", "\"U8\"", "[2]", "[4,6]") "}",
               6);
    folder_refused("{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"2.safetensors\"}}", "two files have a tensor a");
    /* Another file that is damaged. */
    write_text("2.safetensors", "this is a text");
    folder_refused("{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"2.safetensors\"}}",
                   "2.safetensors is no safetensors file");
    unlink(in_folder("2.safetensors"));
    assert_int_equal(mkfifo(in_folder("2.safetensors"), 0600), 0);
    folder_refused("{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"2.safetensors\"}}", "2.safetensors is missing");
}

/* A layer that two files tell of. */
static void layers_told_twice(void **state) {
    (void)state;
    static const struct made_layer layer = {"l.0", "o", 5, 130, 0, 128, false, TENSOR_OTHER, 1, 0};
    static const char *const files[] = {"1.safetensors"};
    struct packed_folder packed;
    struct tensor_writer *writer = tensor_writer_new();
    struct tensor_file first;
    make_packed_file(in_folder(files[0]), &layer, 1, 1);
    made(tensor_file_open(in_folder(files[0]), &first));
    packed_declare_file(writer, "key");
    tensor_writer_text(writer, "l.0.o", tensor_file_text(&first, "l.0.o"));
    tensor_writer_add(writer, "t", "U8", 1, &(int64_t){3}, 3, 1);
    made(tensor_writer_begin(writer, in_folder("2.safetensors")));
    made(tensor_writer_end(writer));
    tensor_writer_free(writer);
    tensor_file_close(&first);
    make_packed_index(folder.data, files, 1, NULL);
    made(packed_open(folder.data, &packed));
    packed_close(&packed);
    const char *const both[] = {"1.safetensors", "2.safetensors"};
    make_packed_index(folder.data, both, 2, NULL);
    assert_int_equal(packed_open(folder.data, &packed), MT_FAILURE);
    says("two files have a layer l.0.o");
}

/* ---- writing ---- */

static bool is_there(const char *name) {
    struct stat info;
    return lstat(in_folder(name), &info) == 0;
}

/* Tensors put in any order, in pieces; aligned ones begin where they should, without holes between them. */
static void what_is_written_comes_back(void **state) {
    (void)state;
    static const struct {
        const char *name;
        size_t bytes, align;
    } want[] = {{"a", 7, 1}, {"b", 5, 1}, {"c", 300, 256}, {"d", 0, 256}, {"e", 1, 256}, {"f", 256, 16}, {"g", 9, 64}};
    enum { COUNT = sizeof want / sizeof *want };
    struct tensor_writer *writer = tensor_writer_new();
    struct tensor_file file;
    int index[COUNT];
    uint8_t bytes[300];
    tensor_writer_text(writer, "format", "text with \"quotes\" and \t");
    for (int i = 0; i < COUNT; i++)
        index[i] = tensor_writer_add(writer, want[i].name, "U8", 1, &(int64_t){(int64_t)want[i].bytes}, want[i].bytes,
                                     want[i].align);
    made(tensor_writer_begin(writer, in_folder("a.safetensors")));
    assert_true(is_there("a.safetensors.part") && !is_there("a.safetensors"));
    for (int i = COUNT - 1; i >= 0; i--) {
        memset(bytes, 'a' + i, sizeof bytes);
        const size_t half = want[i].bytes / 2;
        made(tensor_writer_put(writer, index[i], half, bytes, want[i].bytes - half));
        made(tensor_writer_put(writer, index[i], 0, bytes, half));
    }
    made(tensor_writer_end(writer));
    tensor_writer_free(writer);
    assert_true(!is_there("a.safetensors.part"));
    made(tensor_file_open(in_folder("a.safetensors"), &file));
    assert_string_equal(tensor_file_text(&file, "format"), "text with \"quotes\" and \t");
    int found = 0;
    for (int i = 0; i < file.count; i++)
        for (int j = 0; j < COUNT; j++)
            if (!strcmp(file.tensor[i].name, want[j].name)) {
                memset(bytes, 'a' + j, sizeof bytes);
                assert_int_equal(file.tensor[i].bytes, want[j].bytes);
                assert_int_equal((size_t)(file.tensor[i].data - file.map) % want[j].align, 0);
                assert_memory_equal(file.tensor[i].data, bytes, want[j].bytes);
                found++;
            }
    assert_int_equal(found, COUNT);
    tensor_file_close(&file);
}

/* What is not ended leaves the file of that name as it was, and nothing beside it. */
static void what_is_not_ended(void **state) {
    (void)state;
    struct tensor_writer *writer = tensor_writer_new();
    write_text("a.safetensors", "before");
    tensor_writer_add(writer, "a", "U8", 1, &(int64_t){4}, 4, 1);
    made(tensor_writer_begin(writer, in_folder("a.safetensors")));
    made(tensor_writer_put(writer, 0, 0, "abcd", 4));
    assert_true(is_there("a.safetensors.part"));
    tensor_writer_free(writer);
    assert_true(!is_there("a.safetensors.part"));
    struct str text = {0};
    made(file_read(in_folder("a.safetensors"), &text));
    assert_string_equal(text.data, "before");
    str_release(&text);
    tensor_writer_free(tensor_writer_new());
    tensor_writer_free(NULL);
    /* The header's room is fixed once the file has begun. */
    writer = tensor_writer_new();
    tensor_writer_text(writer, "hash", "unknown");
    made(tensor_writer_begin(writer, in_folder("b.safetensors")));
    for (int i = 0; i < 100; i++) {
        char key[16];
        snprintf(key, sizeof key, "key %d", i);
        tensor_writer_text(writer, key, "value");
    }
    assert_int_equal(tensor_writer_end(writer), MT_FAILURE);
    says("its header changed its length");
    tensor_writer_free(writer);
    assert_true(!is_there("b.safetensors.part") && !is_there("b.safetensors"));
}

static void a_disk_that_is_too_small(void **state) {
    (void)state;
    struct rlimit before, small;
    struct tensor_writer *writer = tensor_writer_new();
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 1 << 16; /* as a full disk: no file may grow larger */
    signal(SIGXFSZ, SIG_IGN);
    tensor_writer_add(writer, "a", "U8", 1, &(int64_t){1 << 20}, 1 << 20, 1);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    const enum mt_status status = tensor_writer_begin(writer, in_folder("a.safetensors"));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(status, MT_FAILURE);
    says("a.safetensors");
    tensor_writer_free(writer);
    assert_true(!is_there("a.safetensors.part") && !is_there("a.safetensors"));
    writer = tensor_writer_new();
    assert_int_equal(tensor_writer_begin(writer, in_folder("no/such/folder")), MT_FAILURE);
    says("no/such/folder");
    tensor_writer_free(writer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(good_headers, each_begins),
        cmocka_unit_test_setup(views, each_begins),
        cmocka_unit_test_setup(lies_of_headers, each_begins),
        cmocka_unit_test_setup(deep_headers, each_begins),
        cmocka_unit_test_setup(lengths_of_headers, each_begins),
        cmocka_unit_test_setup(what_is_no_file, each_begins),
        cmocka_unit_test_setup(values_that_take_gigabytes, each_begins),
        cmocka_unit_test_setup(good_folders, each_begins),
        cmocka_unit_test_setup(lies_of_indexes, each_begins),
        cmocka_unit_test_setup(layers_told_twice, each_begins),
        cmocka_unit_test_setup(what_is_written_comes_back, each_begins),
        cmocka_unit_test_setup(what_is_not_ended, each_begins),
        cmocka_unit_test_setup(a_disk_that_is_too_small, each_begins),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
