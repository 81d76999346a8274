/* A host whose numbers have a decimal comma: what the libraries read and write keeps its points, and so does theirs. */
#include "runtime/base/number.h"
#include "runtime/base/status.h"
#include "runtime/base/str.h"
#include "runtime/softgpu/profile/profile.h"
#include "runtime/softgpu/ptx/lex.h"
#include "tuner/json_file.h"
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>
#undef fail

static char folder[] = "/tmp/mixtune-locale-XXXXXX";
static char file[80];
static bool there;

static void check_host(void) {
    char text[8];
    snprintf(text, sizeof text, "%.1f", 1.5);
    assert_string_equal(text, "1,5");
    assert_true(strtod("1,5", NULL) == 1.5);
}

/* It is made here, for few machines have it. */
static int set_up(void **state) {
    (void)state;
    char command[200];
    if (!mkdtemp(folder))
        return -1;
    snprintf(file, sizeof file, "%s/file", folder);
    snprintf(command, sizeof command, "localedef -i de_DE -f UTF-8 %s/de_DE.UTF-8 >%s 2>&1", folder, file);
    if (system(command) == 0)
        setenv("LOCPATH", folder, 1);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    char command[200];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static int begin(void **state) {
    (void)state;
    there = setlocale(LC_ALL, "de_DE.UTF-8") != NULL;
    if (!there)
        print_message("there is no locale de_DE.UTF-8, and localedef cannot make it (Debian: locales)\n");
    return 0;
}

static int end(void **state) {
    (void)state;
    setlocale(LC_ALL, "C");
    return 0;
}

static void test_devices(void **state) {
    (void)state;
    struct dev_profile *plain, *here;
    setlocale(LC_ALL, "C");
    assert_int_equal(dev_profile_load("h100-sxm", &plain), MT_OK);
    begin(state);
    if (there) {
        check_host();
        assert_int_equal(dev_profile_load("h100-sxm", &here), MT_OK);
        assert_true(here->memory_efficiency == 0.92);
        assert_true(here->launch_us == 1.8);
        assert_memory_equal((const char *)here + sizeof here->name, (const char *)plain + sizeof plain->name,
                            sizeof *here - sizeof here->name);
        dev_profile_free(here);
        check_host();
    }
    dev_profile_free(plain);
    if (!there)
        skip();
}

static void test_ptx(void **state) {
    (void)state;
    static const char text[] = "1.5 0.25e1 1e3 2,5";
    static const double want[] = {1.5, 2.5, 1000};
    struct lexer lex;
    double value;
    if (!there)
        skip();
    lexer_init(&lex, text, strlen(text));
    for (int i = 0; i < 3; i++, lexer_next(&lex)) {
        assert_int_equal(lex.token.kind, TOK_FLOAT);
        memcpy(&value, &lex.token.bits, sizeof value);
        assert_true(value == want[i]);
    }
    assert_int_equal(lex.token.kind, TOK_INT);
    check_host();
}

static void test_texts(void **state) {
    (void)state;
    struct str s = {0};
    char text[16];
    if (!there)
        skip();
    str_printf(&s, "%.2f %g", 1.25, 0.5);
    assert_string_equal(s.data, "1.25 0.5");
    text_fit(text, sizeof text, "%.3g", 2.5);
    assert_string_equal(text, "2.5");
    fail(MT_FAILURE, "%g ms", 1.5);
    assert_string_equal(fail_message(), "1.5 ms");
    assert_true(number_parse("1.5", NULL) == 1.5);
    str_release(&s);
    check_host();
}

static void test_json(void **state) {
    (void)state;
    json_t *root;
    if (!there)
        skip();
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    fputs("{\"a\": 1.5, \"b\": 25e-2}", f);
    fclose(f);
    assert_int_equal(json_file_read(file, 100, MT_USAGE, &root), MT_OK);
    assert_true(json_real_value(json_object_get(root, "a")) == 1.5);
    assert_true(json_real_value(json_object_get(root, "b")) == 0.25);
    char *text = json_dumps(root, JSON_COMPACT);
    assert_string_equal(text, "{\"a\":1.5,\"b\":0.25}");
    free(text);
    json_decref(root);
    check_host();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_devices, begin, end),
        cmocka_unit_test_setup_teardown(test_ptx, begin, end),
        cmocka_unit_test_setup_teardown(test_texts, begin, end),
        cmocka_unit_test_setup_teardown(test_json, begin, end),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
