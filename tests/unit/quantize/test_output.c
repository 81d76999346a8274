/* An output folder is made file by file, resumed, and never mixed with another's. */
#include "runtime/base/file.h"
#include "tuner/quantize/output.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

/* What the file system says to a lock; 0: it has some. */
static int flock_error;

int flock(int fd, int operation) {
    return flock_error ? errno = flock_error, -1 : (int)syscall(SYS_flock, fd, operation);
}

struct fixture {
    struct str source, out;
    struct folder folder;
    struct output_plan plan;
};

static void put_text(const char *folder, const char *name, const char *text) {
    struct str path = {0};
    str_printf(&path, "%s/%s", folder, name);
    assert_int_equal(file_write_atomic(path.data, text, strlen(text)), MT_OK);
    str_release(&path);
}

static bool is_there(const char *folder, const char *name) {
    struct str path = {0};
    str_printf(&path, "%s/%s", folder, name);
    const bool there = access(path.data, F_OK) == 0;
    str_release(&path);
    return there;
}

static void write_source(const char *folder) {
    struct tensor_writer *writer = tensor_writer_new();
    struct str path = {0};
    const int64_t shape[] = {3, 5};
    const float values[15] = {1, 2, 3.5f, -4};
    str_printf(&path, "%s/model.safetensors", folder);
    const int embed = tensor_writer_add(writer, "embed", "F32", 2, shape, sizeof values, 1);
    const int weight = tensor_writer_add(writer, "weight", "F32", 2, shape, sizeof values, 1);
    assert_int_equal(tensor_writer_begin(writer, path.data), MT_OK);
    assert_int_equal(tensor_writer_put(writer, embed, 0, values, sizeof values), MT_OK);
    assert_int_equal(tensor_writer_put(writer, weight, 0, values, sizeof values), MT_OK);
    assert_int_equal(tensor_writer_end(writer), MT_OK);
    tensor_writer_free(writer);
    str_release(&path);
    put_text(folder, "config.json", "{}");
    put_text(folder, "extra.bin", "weights");
}

static int set_up(void **state) {
    struct fixture *f = xcalloc(1, sizeof *f);
    const char *tmp = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
    str_printf(&f->source, "%s/output-XXXXXX", tmp);
    assert_non_null(mkdtemp(f->source.data));
    str_printf(&f->out, "%s/out/p10", f->source.data);
    write_source(f->source.data);
    assert_int_equal(folder_open(f->source.data, &f->folder), MT_OK);
    f->plan = (struct output_plan){
        .path = f->out.data, .source = &f->folder, .options = "none", .scheme = "p10", .group = 128, .tp = 1};
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    struct fixture *f = *state;
    struct str command = {0};
    str_printf(&command, "rm -rf '%s'", f->source.data);
    assert_int_equal(system(command.data), 0);
    str_release(&command);
    folder_close(&f->folder);
    str_release(&f->source);
    str_release(&f->out);
    free(f);
    return 0;
}

static void write_layer(struct output *output, int decoder, bool end) {
    struct packed_source source = {"a.o_proj", 40};
    struct str name = {0};
    str_printf(&name, "layers.%d.o", decoder);
    struct packed_layer layer = {.name = name.data,
                                 .layer = "o",
                                 .n = 40,
                                 .k = 200,
                                 .rows8 = 4,
                                 .rows8_chosen = 4,
                                 .group = 128,
                                 .tp = 1,
                                 .source = &source,
                                 .source_count = 1,
                                 .bias_type = TENSOR_OTHER};
    const struct problem p = packed_problem(&layer);
    struct quant_layer quant;
    assert_int_equal(quant_layer_random(&quant, &p, 1), MT_OK);
    assert_int_equal(output_begin(output, decoder, &layer, 1), MT_OK);
    assert_int_equal(output_put(output, &layer, &quant, NULL), MT_OK);
    if (end)
        assert_int_equal(output_end(output), MT_OK);
    quant_layer_release(&quant);
    str_release(&name);
}

static void goes_on_where_it_stopped(void **state) {
    struct fixture *f = *state;
    struct output *output;
    const uint8_t taken[] = {0, 1}; /* embed, weight */
    struct packed_folder packed;
    assert_int_equal(output_open(&f->plan, &output), MT_OK);
    assert_false(output_has(output, 0));
    write_layer(output, 0, true);
    write_layer(output, 1, false);
    output_close(output);
    assert_true(is_there(f->out.data, ".mixtune"));
    assert_false(is_there(f->out.data, "layer-00001.safetensors.part"));

    assert_int_equal(output_open(&f->plan, &output), MT_OK);
    assert_true(output_has(output, 0));
    assert_false(output_has(output, 1));
    write_layer(output, 1, true);
    assert_false(is_there(f->out.data, "model.safetensors.index.json"));
    assert_int_equal(output_finish(output, taken), MT_OK);
    assert_int_equal(output_rest_bytes(output), 60);
    output_close(output);
    assert_true(is_there(f->out.data, "config.json"));
    assert_false(is_there(f->out.data, "extra.bin"));
    assert_false(is_there(f->out.data, ".mixtune"));

    assert_int_equal(packed_open(f->out.data, &packed), MT_OK);
    assert_int_equal(packed.count, 2);
    assert_string_equal(folder_text(&packed.folder, "scheme"), "p10");
    assert_non_null(folder_find(&packed.folder, "embed"));
    assert_null(folder_find(&packed.folder, "weight"));
    assert_memory_equal(folder_find(&packed.folder, "embed")->data, f->folder.tensor[0]->data, 60);
    packed_close(&packed);
    /* Finished, it is still this plan's. */
    assert_int_equal(output_open(&f->plan, &output), MT_OK);
    assert_true(output_has(output, 1));
    output_close(output);
}

static void assert_refused(const struct output_plan *plan, enum mt_status status, const char *words) {
    struct output *output;
    assert_int_equal(output_open(plan, &output), status);
    assert_null(output);
    if (!strstr(fail_message(), words))
        print_message("%s\n", fail_message());
    assert_non_null(strstr(fail_message(), words));
}

static void others_are_refused(void **state) {
    struct fixture *f = *state;
    struct output *output;
    struct output_plan other = f->plan;
    struct str path = {0}, part = {0};
    assert_int_equal(output_open(&f->plan, &output), MT_OK);
    char holder[64];
    snprintf(holder, sizeof holder, "process %d on ", (int)getpid());
    assert_refused(&f->plan, MT_FAILURE, flock_error ? holder : "another process");
    write_layer(output, 0, true);
    output_close(output);
    other.options = "others";
    assert_refused(&other, MT_FAILURE, "other options");
    assert_true(is_there(f->out.data, ".mixtune"));
    /* Without a whole file it is anybody's. */
    str_printf(&path, "%s/layer-00000.safetensors", f->out.data);
    str_printf(&part, "%s.part", path.data);
    assert_int_equal(rename(path.data, part.data), 0);
    assert_int_equal(output_open(&other, &output), MT_OK);
    assert_false(is_there(f->out.data, "layer-00000.safetensors.part"));
    output_close(output);
    other = f->plan;
    other.scheme = "p20";
    assert_int_equal(output_open(&f->plan, &output), MT_OK);
    assert_int_equal(output_finish(output, (const uint8_t *)"\0\1"), MT_OK);
    output_close(output);
    assert_refused(&other, MT_FAILURE, "other options"); /* by the layers */
    assert_false(is_there(f->out.data, ".mixtune"));
    /* A source that has changed. */
    str_clear(&path);
    str_printf(&path, "%s/model.safetensors", f->source.data);
    const struct timespec times[] = {{1000, 0}, {1000, 0}};
    assert_int_equal(utimensat(AT_FDCWD, path.data, times, 0), 0);
    assert_refused(&f->plan, MT_FAILURE, "another model");

    other.path = f->source.data;
    assert_refused(&other, MT_USAGE, "the model itself");
    str_clear(&path);
    str_printf(&path, "%s/out", f->source.data);
    put_text(path.data, "notes.txt", "mine");
    other.path = path.data;
    assert_refused(&other, MT_FAILURE, "notes.txt");
    assert_false(is_there(path.data, ".mixtune"));
    str_release(&path);
    str_release(&part);
}

static void without_locks_too(void **state) {
    const struct fixture *f = *state;
    flock_error = ENOSYS;
    others_are_refused(state);
    flock_error = 0;
    assert_false(is_there(f->out.data, ".mixtune.lock"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(goes_on_where_it_stopped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(others_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_locks_too, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
