/* JSON that takes more memory than a machine has is refused before its values are made. */
#include "runtime/base/file.h"
#include "tuner/json_file.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

static enum mt_status read_text(const struct str *text, json_t **out) {
    char path[] = "/tmp/mixtune-json-XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(close(fd), 0);
    assert_int_equal(file_write_atomic(path, text->data, text->length), MT_OK);
    const enum mt_status status = json_file_read(path, JSON_T4_MOST, MT_USAGE, out);
    unlink(path);
    return status;
}

/* "[]," takes fifty times its bytes: 8 million of them are 24 MB of text, and more than a GiB. */
static void values_that_take_gigabytes(void **state) {
    (void)state;
    enum { VALUES = 8000000 };
    struct str text = {0};
    json_t *root;
    assert_true(str_reserve(&text, 3 * VALUES + 20));
    str_append(&text, "[\"\\\"");
    for (int i = 0; i < VALUES; i++)
        memcpy(text.data + text.length + 3 * (size_t)i, "[],", 3);
    text.length += 3 * VALUES;
    str_append(&text, "\"]"); /* in a text they are one value, also behind a \" */
    assert_int_equal(read_text(&text, &root), MT_OK);
    assert_int_equal(json_string_length(json_array_get(root, 0)), 3 * VALUES + 1);
    json_decref(root);
    memcpy(text.data + 1, "0, ", 3);
    memcpy(text.data + text.length - 2, "0]", 2);
    assert_int_equal(read_text(&text, &root), MT_USAGE);
    assert_non_null(strstr(fail_message(), "would take more than 1536 MiB"));
    assert_null(root);
    str_release(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(values_that_take_gigabytes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
