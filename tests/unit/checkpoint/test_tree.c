/* JSON as SQLite reads it, and what it must not take. */
#include "runtime/checkpoint/tree.h"
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

static void good(const char *text, struct tree *tree) {
    if (tree_read("a file", text, strlen(text), tree) != MT_OK)
        fail_msg("%s: %s", text, fail_message());
}

static void refused(const char *text, size_t length, const char *words) {
    struct tree tree;
    if (tree_read("a file", text, length, &tree) != MT_FAILURE)
        fail_msg("%s was taken", text);
    if (strncmp(fail_message(), "a file", 6) != 0 || !strstr(fail_message(), words))
        fail_msg("'%s' does not say '%s'", fail_message(), words);
    assert_true(!tree.value && !tree.item && !tree.texts.data);
}

static void every_type(void **state) {
    struct tree tree;
    (void)state;
    good(" {\"z\" : [null, true, false, -12, 9223372036854775807, 9223372036854775808, 1.5, \"\", {}, []],\n"
         "\"a\":\"q\\\" \\\\ \\n \\u00e9 \\ud83d\\ude00 \xc3\xa9\", \"m\":{\"k\":3}}",
         &tree);
    const struct tree_value *root = &tree.value[0], *list = tree_get(root, "z");
    static const enum tree_type types[] = {TREE_NULL, TREE_BOOL, TREE_BOOL, TREE_INTEGER, TREE_INTEGER,
                                           TREE_REAL, TREE_REAL, TREE_TEXT, TREE_OBJECT,  TREE_ARRAY};
    assert_true(root->type == TREE_OBJECT && root->count == 3 && list->count == 10);
    for (int i = 0; i < 10; i++)
        assert_int_equal(list->item[i]->type, types[i]);
    assert_true(list->item[1]->number == 1 && list->item[2]->number == 0 && list->item[3]->number == -12);
    assert_true(list->item[4]->number == INT64_MAX && !*list->item[7]->text && list->item[8]->count == 0);
    assert_string_equal(tree_get_text(root, "a"), "q\" \\ \n \xc3\xa9 \xf0\x9f\x98\x80 \xc3\xa9");
    assert_int_equal(tree_get(tree_get(root, "m"), "k")->number, 3);
    /* As they stand, and nothing that is not there. */
    assert_string_equal(root->item[0]->key, "z");
    assert_string_equal(root->item[2]->key, "m");
    assert_true(!tree_get(root, "k") && !tree_get(list, "z") && !tree_get(NULL, "z") && !tree_get_text(root, "m"));
    tree_release(&tree);
    good("7", &tree);
    assert_true(tree.count == 1 && tree.value[0].number == 7);
    tree_release(&tree);
}

static void what_is_not_json(void **state) {
    static const char *const texts[] = {
        "",        "{",    "[1,]", "{\"a\":1,}", "{} {}", "[01]", "'a'", "[NaN]",  "{a:1}", "[1 2]",   "\"\x01\"",
        "// x\n1", "[+1]", "[.5]", "\"\\x41\"",  "[1",    "tru",  "\"a", "\xff 1", "[1.]",  "{\"a\"}", "{1:2}"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        refused(texts[i], strlen(texts[i]), "this is not JSON");
    /* Not UTF-8: too long, half a pair, beyond the last character, cut short. */
    static const char *const bytes[] = {"\"\xc0\xaf\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xe2\x82\"",
                                        "\"\x80\"",     "\"\\ud83d\"",      "{\"\\udc00\":1}",      "\"\xe2\x82"};
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++)
        refused(bytes[i], strlen(bytes[i]), "UTF-8");
    refused("[1]\0[2]", 7, "character 0");
    refused("\"a\\u0000b\"", 10, "character 0");
    static const char twice[] = "{\"a\":1,\"b\":{\"c\":1,\"d\":2,\"c\":3}}", spelt[] = "{\"a\":1,\"\\u0061\":1}";
    refused(twice, sizeof twice - 1, "the key c twice");
    refused(spelt, sizeof spelt - 1, "the key a twice");
}

static char *repeated(const char *piece, size_t count) {
    const size_t length = strlen(piece);
    char *text = xmalloc(length * count + 1);
    for (size_t i = 0; i < count; i++)
        memcpy(text + i * length, piece, length);
    text[length * count] = 0;
    return text;
}

static void limits(void **state) {
    struct tree tree;
    (void)state;
    char *deep = repeated("[", 1 << 20);
    refused(deep, 1 << 20, "this is not JSON");
    free(deep);
    char *blank = repeated(" ", TREE_BYTES_MOST + 1);
    blank[0] = '1';
    refused(blank, TREE_BYTES_MOST + 1, "33554432 are the most");
    free(blank);
    char *many = repeated("1,", (2 << 20) + 1);
    many[0] = '[';
    many[1] = ' ';
    many[(4 << 20) + 1] = ']';
    refused(many, (4 << 20) + 2, "more than 2097152 values");
    free(many);
    /* As long an object as there is: sorted, not searched through. */
    struct str object = {0};
    for (int i = 0; i < 200000; i++)
        str_printf(&object, "%s\"%d\":%d", i ? "," : "{", i, i);
    str_append(&object, "}");
    good(object.data, &tree);
    for (int i = 0; i < 200000; i += 777) {
        char key[16];
        snprintf(key, sizeof key, "%d", i);
        assert_int_equal(tree_get(&tree.value[0], key)->number, i);
    }
    tree_release(&tree);
    str_release(&object);
}

/* What is written another reader understands. */
static void quoting(void **state) {
    struct str text = {0};
    char all[256];
    (void)state;
    for (int i = 1; i < 128; i++)
        all[i - 1] = (char)i;
    strcpy(all + 127, "\xc3\xa9\xf0\x9f\x98\x80");
    tree_quote(&text, all);
    json_t *read = json_loads(text.data, JSON_DECODE_ANY, NULL);
    assert_non_null(read);
    assert_string_equal(json_string_value(read), all);
    json_decref(read);
    str_release(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type),
        cmocka_unit_test(what_is_not_json),
        cmocka_unit_test(limits),
        cmocka_unit_test(quoting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
