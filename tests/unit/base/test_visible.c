/* What a terminal would obey, and what is not seen, is shown. */
#include "runtime/base/visible.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *text, *want;
} cases[] = {
    {"", ""},
    {"qkv, \u6a21\u578b \\x1b ~", "qkv, \u6a21\u578b \\x1b ~"},
    {"\033]52;c;AAAA\a", "\\x1b]52;c;AAAA\\x07"},
    {"a\tb\r\n\x7f", "a\\x09b\\x0d\\x0a\\x7f"},
    {"\xc2\x9b[31m\xc2\x80\u00a0", "\\xc2\\x9b[31m\\xc2\\x80\u00a0"},
    {"a\u202e\u2066\u200f\u200b\u2028\ufeff\u00adb", "a\\xe2\\x80\\xae\\xe2\\x81\\xa6\\xe2\\x80\\x8f\\xe2\\x80\\x8b"
                                                     "\\xe2\\x80\\xa8\\xef\\xbb\\xbf\\xc2\\xadb"},
    {"\xf3\xa0\x81\x81\U0001f408", "\\xf3\\xa0\\x81\\x81\U0001f408"}, /* a tag; a cat */
    {"\xff\xfe \xc3", "\\xff\\xfe \\xc3"},
    {"\xc0\xaf\xe0\x80\xaf\xf0\x80\x80\xaf",
     "\\xc0\\xaf\\xe0\\x80\\xaf\\xf0\\x80\\x80\\xaf"}, /* longer than it need be */
    {"\xed\xa0\x80\xf4\x90\x80\x80\xef\xbf\xbf", "\\xed\\xa0\\x80\\xf4\\x90\\x80\\x80\\xef\\xbf\\xbf"},
    {"\xe6\xa8\xe5\x9e\x8b\x80", "\\xe6\\xa8\u578b\\x80"},
};
enum { CASES = sizeof cases / sizeof *cases };

static void hostile_text_is_shown(void **state) {
    (void)state;
    for (size_t i = 0; i < CASES; i++) {
        struct str out = {0}, again = {0};
        char array[256];
        str_append_visible(&out, cases[i].text, strlen(cases[i].text), "");
        assert_string_equal(str_text(&out), cases[i].want);
        str_append_visible(&again, str_text(&out), out.length, "");
        assert_string_equal(str_text(&again), cases[i].want); /* visible already */
        strcpy(array, cases[i].text);
        text_visible(array, sizeof array);
        assert_string_equal(array, cases[i].want);
        str_release(&out);
        str_release(&again);
    }
}

static void a_zero_is_shown_and_a_line_may_stay(void **state) {
    (void)state;
    struct str out = {0};
    str_append_visible(&out, "a\0b\n\t", 5, "\n");
    assert_string_equal(out.data, "a\\x00b\n\\x09");
    str_release(&out);
}

/* Every size of an array: the whole text, or its beginning and dots, and nothing behind the array. */
static void what_does_not_fit_ends_in_dots(void **state) {
    (void)state;
    for (size_t i = 0; i < CASES; i++)
        for (size_t size = 8; size < 80; size++) {
            char *array = malloc(size);
            struct str whole = {0};
            strncpy(array, cases[i].text, size - 1);
            array[size - 1] = '\0';
            str_append_visible(&whole, array, strlen(array), "");
            text_visible(array, size);
            const size_t length = strlen(array);
            assert_true(length < size);
            if (whole.length < size) {
                assert_string_equal(array, str_text(&whole));
            } else {
                assert_string_equal(array + length - 3, "...");
                assert_memory_equal(array, whole.data, length - 3);
                assert_true(length + 4 >= size); /* as much as fits */
            }
            str_release(&whole);
            free(array);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_text_is_shown),
        cmocka_unit_test(a_zero_is_shown_and_a_line_may_stay),
        cmocka_unit_test(what_does_not_fit_ends_in_dots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
