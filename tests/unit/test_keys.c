/* Equal texts have one number. */
#include "tuner/keys.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

enum { MANY = 20000, APART = 7919 };

static void equal_texts_have_one_number(void **state) {
    (void)state;
    struct keys keys = {0};
    char text[32];
    assert_int_equal(keys_find(&keys, "a"), -1);
    assert_int_equal(keys_number(&keys, "a"), 0);
    assert_int_equal(keys_number(&keys, ""), 1);
    assert_int_equal(keys_number(&keys, "A"), 2);
    assert_int_equal(keys_number(&keys, "a"), 0);
    assert_int_equal(keys_find(&keys, ""), 1);
    assert_int_equal(keys_find(&keys, "aa"), -1);
    assert_int_equal(keys.count, 3);
    keys_release(&keys);
    assert_int_equal(keys_find(&keys, "a"), -1);

    for (int i = 0; i < MANY; i++) {
        snprintf(text, sizeof text, "%d", i % APART);
        assert_int_equal(keys_number(&keys, text), i % APART);
    }
    assert_int_equal(keys.count, APART);
    for (int i = 0; i < APART; i++) {
        snprintf(text, sizeof text, "%d", i);
        assert_string_equal(keys.text[i], text);
        assert_int_equal(keys_find(&keys, text), i);
    }
    keys_release(&keys);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(equal_texts_have_one_number)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
