/* Sentences, strings, arrays, files, symbols, host loops. */
#include "runtime/base/array.h"
#include "runtime/base/file.h"
#include "runtime/base/log.h"
#include "runtime/base/near.h"
#include "runtime/base/parallel.h"
#include "runtime/base/status.h"
#include "runtime/base/str.h"
#include "runtime/base/symbols.h"
#include <dirent.h>
#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
/* after the above; its fail() is a macro with the name of our function */
#include <cmocka.h>
#undef fail

static char folder[] = "/tmp/mixtune-base-XXXXXX";
static char path[80];

static int set_up(void **state) {
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/file", folder);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    char command[100];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

/* ---- sentences ---- */

static void *other_thread(void *argument) {
    assert_string_equal(fail_message(), "");
    fail(MT_FAILURE, "of another thread");
    return argument;
}

static void sentences_belong_to_their_thread(void **state) {
    (void)state;
    assert_int_equal(fail(MT_USAGE, "knob %s is %d", "a", 7), MT_USAGE);
    assert_string_equal(fail_message(), "knob a is 7");
    assert_int_equal(fail_context(MT_USAGE, "reading %s", "x.yaml"), MT_USAGE);
    assert_string_equal(fail_message(), "reading x.yaml: knob a is 7");
    fail(MT_FAILURE, "again: %s", fail_message());
    assert_string_equal(fail_message(), "again: reading x.yaml: knob a is 7");
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, other_thread, NULL), 0);
    pthread_join(thread, NULL);
    assert_string_equal(fail_message(), "again: reading x.yaml: knob a is 7");
    char *longer = xmalloc(5001);
    memset(longer, 'y', 5000);
    longer[5000] = 0;
    fail(MT_FAILURE, "%s", longer);
    fail_context(MT_FAILURE, "%s", longer);
    assert_in_range(strlen(fail_message()), 500, 5000);
    assert_string_equal(fail_message() + strlen(fail_message()) - 4, "y...");
    free(longer);
}

static void long_words_lose_their_middle(void **state) {
    (void)state;
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"", ""},
        {"abcdefghijklmnop", "abcdefghijklmnop"},
        {"abcdefghijklmnopq", "abcdef...lmnopq"},
        {"_Z1abcdefghijklmn42: it\nis _Z1abcdefghijklmn43", "_Z1abc...lmn42: it\nis _Z1abc...klmn43"},
        {" a  b ", " a  b "},
        {"aäääääääää", "aää...äää"}, /* 19 bytes */
        {"b \x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80 c",
         "b \x80\x80\x80\x80\x80\x80...\x80\x80\x80\x80\x80\x80 c"}, /* no characters */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str s = {0};
        str_append(&s, cases[i].text);
        str_shorten_words(&s, 16);
        assert_string_equal(str_text(&s), cases[i].want);
        assert_int_equal(s.length, strlen(cases[i].want));
        str_release(&s);
    }
    char word[2001], out[200];
    memset(word, 'x', 2000);
    word[2000] = '\0';
    text_fit_words(out, sizeof out, "%s: what is wrong", word);
    assert_int_equal(strlen(out), 119 + strlen(" what is wrong"));
    assert_non_null(strstr(out, "xxx...xxx"));
    assert_non_null(strstr(out, "xx: what is wrong"));
}

/* A sentence that does not fit says so, and stays UTF-8. */
static void sentences_that_do_not_fit_end_in_dots(void **state) {
    (void)state;
    static const struct {
        size_t size;
        const char *text, *want;
    } cases[] = {
        {8, "1234567", "1234567"},
        {8, "12345678", "1234..."},
        {8, "", ""},
        {8,
         "123\xc3\xa4"
         "678",
         "123..."},
        {8,
         "12\xc3\xa4"
         "5678",
         "12\xc3\xa4..."},
        {8,
         "1\xf0\x9f\x90\x88"
         "678",
         "1..."},
        {4, "1234", "..."},
        {3, "1234", "12"},
        {1, "1234", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[9];
        memset(out, '#', sizeof out);
        text_fit(out, cases[i].size, "%s", cases[i].text);
        assert_string_equal(out, cases[i].want);
        assert_int_equal(out[cases[i].size], '#');
    }
}

/* Names are cut by bytes on their way into a sentence. */
static void sentences_are_utf8(void **state) {
    (void)state;
    static const struct {
        int most;
        const char *name, *want;
    } cases[] = {
        {9, "\u6a21\u578b\u7532", "no \u6a21\u578b\u7532 here"},
        {8, "\u6a21\u578b\u7532", "no \u6a21\u578b\\xe7\\x94 here"},
        {7, "\u6a21\u578b\u7532", "no \u6a21\u578b\\xe7 here"},
        {1, "\u00e4", "no \\xc3 here"},
        {3, "\U0001f408", "no \\xf0\\x9f\\x90 here"},
        {4, "\U0001f408", "no \U0001f408 here"},
        {9, "caf\xe9\x80\xff.json", "no caf\\xe9\\x80\\xff.js here"},
        {9, "\xc0\xaf", "no \\xc0\\xaf here"},
        {9, "a\033[2J\nb", "no a\\x1b[2J\\x0ab here"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fail(MT_FAILURE, "no %.*s here", cases[i].most, cases[i].name);
        assert_string_equal(fail_message(), cases[i].want);
    }
    fail_context(MT_FAILURE, "%s", "\r");
    assert_string_equal(fail_message(), "\\x0d: no a\\x1b[2J\\x0ab here");
}

/* ---- strings ---- */

static void strings_grow(void **state) {
    (void)state;
    struct str s = {0}, want = {0};
    for (int i = 0; i < 3000; i++) {
        str_printf(&s, "%d,", i);
        char text[16];
        str_append_bytes(&want, text, (size_t)snprintf(text, sizeof text, "%d,", i));
    }
    assert_string_equal(s.data, want.data);
    assert_int_equal(s.length, strlen(s.data));
    str_clear(&s);
    assert_string_equal(s.data, "");
    str_append_bytes(&s, "a\0b", 3);
    str_append(&s, "c");
    assert_int_equal(s.length, 4);
    assert_memory_equal(s.data, "a\0bc", 5);
    str_release(&s);
    assert_null(s.data);
    str_printf(&s, "%s", "");
    assert_string_equal(s.data, "");
    str_release(&s);
    str_release(&want);
}

static void an_empty_string_is_a_text(void **state) {
    (void)state;
    struct str s = {0};
    assert_string_equal(str_text(&s), "");
    str_clear(&s);
    assert_string_equal(str_text(&s), "");
    str_printf(&s, "%d", 12);
    assert_ptr_equal(str_text(&s), s.data);
    str_reserve(&s, 5000);
    assert_string_equal(str_text(&s), "12");
    memset(s.data + s.length, 'x', 5000); /* there is room */
    str_clear(&s);
    assert_string_equal(str_text(&s), "");
    str_release(&s);
    assert_string_equal(str_text(&s), "");
    str_reserve(&s, 0);
    assert_string_equal(s.data, "");
    str_release(&s);
}

/* ---- memory that is short ---- */

static int ended;
static void numbers_are_those_of_printf(void **state) {
    (void)state;
    static const int numbers[] = {0, 1, -1, 9, 10, -10, 99, 100, 12345, -12345, INT_MAX, INT_MIN};
    struct str s = {0}, want = {0};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        str_append_int(&s, numbers[i]);
        str_append(&s, ",");
        str_printf(&want, "%d,", numbers[i]);
    }
    assert_string_equal(s.data, want.data);
    str_release(&s);
    str_release(&want);
}

static void end(void) {
    ended++;
}

/* Sizes that no allocator is asked for: tests/unit/serve/test_short_memory.c has the others. */
static void memory_is_short(void **state) {
    (void)state;
    struct str s = {0};
    int *array = NULL;
    size_t capacity = 0;
    str_append(&s, "before");
    assert_int_equal(str_status(&s), MT_OK);
    assert_false(str_reserve(&s, SIZE_MAX - 3));
    assert_string_equal(str_text(&s), ""); /* half of a text could be another one */
    str_append(&s, "after");
    str_printf(&s, "%d", 1);
    assert_true(!*str_text(&s) && !s.data && s.length == 0 && !str_reserve(&s, 1));
    fail(MT_OK, "something else");
    assert_false(fail_is_memory());
    assert_int_equal(str_status(&s), MT_FAILURE);
    fail_context(MT_FAILURE, "where");
    assert_true(fail_is_memory());
    assert_non_null(strstr(fail_message(), "out of memory: 18446744073709551612 bytes"));
    str_clear(&s);
    str_append(&s, "again");
    assert_string_equal(str_text(&s), "again");
    assert_int_equal(str_status(&s), MT_OK);
    str_release(&s);
    assert_false(array_grow(&array, &capacity, SIZE_MAX / 8, sizeof *array));
    assert_true(!array && capacity == 0);
    assert_null(mem_aligned(64, SIZE_MAX - 3));
    void *const blocks[] = {mem_alloc(0), mem_zeroed(0, 4), mem_zeroed(4, 0), mem_resize(NULL, 0), mem_aligned(64, 0)};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        assert_non_null(blocks[i]);
        free(blocks[i]);
    }
    memory_end_with(end); /* it should not return, but here it does */
    assert_int_equal(memory_short(5), MT_FAILURE);
    assert_int_equal(ended, 1);
    memory_end_with(NULL);
}

/* ---- arrays ---- */

static void arrays_grow(void **state) {
    (void)state;
    int *array = NULL;
    size_t capacity = 0;
    for (size_t i = 0; i < 1000; i++) {
        array_grow(&array, &capacity, i, sizeof *array);
        assert_true(capacity > i && capacity < 2 * i + 65);
        for (size_t fresh = i; fresh < capacity; fresh++)
            assert_int_equal(array[fresh], 0);
        array[i] = (int)i + 1;
    }
    array_grow(&array, &capacity, 4096, sizeof *array); /* over many at once */
    assert_true(capacity > 4096);
    for (size_t i = 0; i < capacity; i++)
        assert_int_equal(array[i], i < 1000 ? (int)i + 1 : 0);
    free(array);
}

/* ---- symbols ---- */

static void symbols_are_found_or_named(void **state) {
    (void)state;
    struct functions {
        size_t (*length)(const char *);
        int (*absolute)(int), (*untouched)(int);
    } functions = {0};
    static const struct symbol known[] = {{offsetof(struct functions, absolute), "abs"},
                                          {offsetof(struct functions, length), "strlen"},
                                          {offsetof(struct functions, untouched), "no_such_function"}};
    void *library = dlopen(NULL, RTLD_NOW);
    assert_null(symbols_find(library, known, 2, &functions));
    assert_int_equal(functions.absolute(-3), 3);
    assert_int_equal(functions.length("four"), 4);
    assert_string_equal(symbols_find(library, known, 3, &functions), "no_such_function");
    assert_null(functions.untouched);
    dlclose(library);
}

/* ---- files ---- */

static int entries_of(const char *where) {
    DIR *dir = opendir(where);
    int count = 0;
    while (readdir(dir))
        count++;
    closedir(dir);
    return count - 2;
}

static void files_are_replaced_whole(void **state) {
    (void)state;
    struct str s = {0};
    char *large = xmalloc(300000);
    for (int i = 0; i < 300000; i++)
        large[i] = (char)lrand48();
    assert_int_equal(file_write_atomic(path, large, 300000), MT_OK);
    str_append(&s, "before");
    assert_int_equal(file_read(path, &s), MT_OK);
    assert_int_equal(s.length, 300006);
    assert_memory_equal(s.data + 6, large, 300000);
    assert_int_equal(file_write_atomic(path, "new", 3), MT_OK);
    str_clear(&s);
    assert_int_equal(file_read(path, &s), MT_OK);
    assert_string_equal(s.data, "new");
    assert_int_equal(file_write_atomic(path, "", 0), MT_OK);
    str_release(&s);
    assert_int_equal(file_read(path, &s), MT_OK);
    assert_string_equal(s.data, "");
    assert_int_equal(entries_of(folder), 1);
    struct stat info;
    mode_t mask = umask(0);
    umask(mask);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0666 & ~mask);
    str_release(&s);
    free(large);
}

static void put_bytes(const char *bytes, size_t count) {
    assert_int_equal(file_write_atomic(path, bytes, count), MT_OK);
}

static void check_no_text(const char *given, const char *words) {
    struct str s = {0};
    assert_int_equal(file_read_text(given, 100, MT_USAGE, &s), MT_USAGE);
    print_message("  %s\n", fail_message());
    assert_non_null(strstr(fail_message(), words));
    assert_non_null(strstr(fail_message(), given));
    str_release(&s);
}

static void only_small_files_are_texts(void **state) {
    (void)state;
    char text[101], pipe[100];
    struct str s = {0};
    memset(text, 'x', sizeof text);
    put_bytes(text, 100);
    str_append(&s, "before");
    assert_int_equal(file_read_text(path, 100, MT_USAGE, &s), MT_OK);
    assert_int_equal(s.length, 106);
    put_bytes(text, 101);
    check_no_text(path, "has 101 bytes, and at most 100 are read");
    assert_int_equal(truncate(path, (off_t)1 << 40), 0);
    check_no_text(path, "1099511627776 bytes");
    check_no_text("/proc/self/smaps", "more than 100 bytes"); /* a file that does not say how long it is */
    put_bytes("a\nb\0c", 5);
    check_no_text(path, "line 2: a byte is 0");
    put_bytes("\xff\xfe"
              "a\0",
              4);
    check_no_text(path, "UTF-16");
    put_bytes("\xfe\xff\0a", 4);
    check_no_text(path, "UTF-16");
    put_bytes("\xef\xbb\xbf"
              "abc",
              6);
    str_clear(&s);
    assert_int_equal(file_read_text(path, 100, MT_USAGE, &s), MT_OK);
    assert_string_equal(s.data, "abc");
    put_bytes("", 0);
    str_release(&s);
    assert_int_equal(file_read_text(path, 100, MT_USAGE, &s), MT_OK);
    assert_int_equal(s.length, 0);
    snprintf(pipe, sizeof pipe, "%s/pipe", folder);
    assert_int_equal(mkfifo(pipe, 0600), 0);
    check_no_text(pipe, "is a pipe"); /* and nobody writes to it */
    str_clear(&s);
    assert_int_equal(file_read(pipe, &s), MT_FAILURE);
    assert_int_equal(file_read("/dev/zero", &s), MT_FAILURE);
    assert_int_equal(s.length, 0);
    assert_int_equal(unlink(pipe), 0);
    check_no_text(folder, "is a folder");
    check_no_text("/dev/zero", "is a device");
    check_no_text("/nonexistent/file", "No such file");
    str_release(&s);
}

static void *writer(void *argument) {
    const char *letter = argument;
    char text[4096];
    memset(text, *letter, sizeof text);
    for (int i = 0; i < 20; i++)
        if (file_write_atomic(path, text, sizeof text) != MT_OK)
            return NULL;
    return argument;
}

static void readers_never_see_half_a_file(void **state) {
    (void)state;
    static char letters[] = "ab";
    pthread_t thread[2];
    void *result;
    writer(letters);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, writer, letters + i), 0);
    for (int i = 0; i < 200; i++) {
        struct str s = {0};
        assert_int_equal(file_read(path, &s), MT_OK);
        assert_int_equal(s.length, 4096);
        for (size_t at = 1; at < s.length; at++)
            assert_int_equal(s.data[at], s.data[0]);
        str_release(&s);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(thread[i], &result);
        assert_non_null(result);
    }
    assert_int_equal(entries_of(folder), 1);
}

static void failures_are_sentences(void **state) {
    (void)state;
    fail(MT_USAGE, "%s", "a\nb\tc\033[2Jd\177e\302\233f\302\241\r");
    assert_string_equal(fail_message(), "a\\x0ab\\x09c\\x1b[2Jd\\x7fe\\xc2\\x9bf\302\241\\x0d");
    struct str s = {0};
    char sub[100];
    str_append(&s, "kept");
    assert_int_equal(file_read("/nonexistent/file", &s), MT_FAILURE);
    assert_string_equal(s.data, "kept");
    assert_string_equal(fail_message(), "cannot open /nonexistent/file: No such file or directory");
    assert_int_equal(file_read(folder, &s), MT_FAILURE); /* opens, but cannot be read */
    assert_string_equal(s.data, "kept");
    assert_int_equal(file_write_atomic("/nonexistent/file", "x", 1), MT_FAILURE);
    assert_int_equal(file_write_atomic(folder, "x", 1), MT_FAILURE);

    snprintf(sub, sizeof sub, "%s/full", folder);
    if (mknod(sub, S_IFCHR | 0600, makedev(1, 7)) == 0) { /* needs root: the device that is always full */
        assert_int_equal(file_write_atomic(sub, "x", 1), MT_FAILURE);
        assert_non_null(strstr(fail_message(), "No space left on device; free some space"));
        struct stat info;
        assert_int_equal(stat(sub, &info), 0);
        assert_true(S_ISCHR(info.st_mode)); /* and was not replaced by a file */
        unlink(sub);
    }
    if (geteuid() != 0) {
        snprintf(sub, sizeof sub, "%s/closed", folder);
        assert_int_equal(mkdir(sub, 0500), 0);
        snprintf(sub, sizeof sub, "%s/closed/file", folder);
        assert_int_equal(file_write_atomic(sub, "x", 1), MT_FAILURE);
        assert_non_null(strstr(fail_message(), "check its permissions"));
    }
    str_release(&s);
}

static void folders_are_made(void **state) {
    (void)state;
    char deep[120];
    struct stat info;
    snprintf(deep, sizeof deep, "%s/a/b//c", folder);
    assert_int_equal(folder_make(deep), MT_OK);
    assert_int_equal(stat(deep, &info), 0);
    assert_true(S_ISDIR(info.st_mode));
    assert_int_equal(folder_make(deep), MT_OK);
    assert_int_equal(file_write_atomic(path, "x", 1), MT_OK);
    snprintf(deep, sizeof deep, "%s/more", path);
    assert_int_equal(folder_make(deep), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "cannot make the folder"));
    assert_int_equal(folder_make(path), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "Not a directory"));
}

static void configs_are_found(void **state) {
    (void)state;
    struct str found = {0};
    char kind[100], name[120];
    snprintf(kind, sizeof kind, "%s/kind", folder);
    snprintf(name, sizeof name, "%s/mine.yaml", kind);
    assert_int_equal(folder_make(kind), MT_OK);
    assert_int_equal(file_write_atomic(name, "x", 1), MT_OK);
    setenv("MIXTUNE_CONFIGS", folder, 1);
    assert_int_equal(config_find("kind", "mine", "yaml", &found), MT_OK);
    assert_string_equal(found.data, name);
    assert_int_equal(config_find("kind", "mine.yaml", "yaml", &found), MT_OK);
    assert_int_equal(config_find("kind", name, "yaml", &found), MT_OK);
    assert_int_equal(config_find("kind", "other", "yaml", &found), MT_USAGE);
    assert_non_null(strstr(fail_message(), "other.yaml"));
    assert_int_equal(config_find("kind", "./other", "yaml", &found), MT_USAGE);
    assert_string_equal(fail_message(), "there is no file ./other");
    unsetenv("MIXTUNE_CONFIGS");
    str_release(&found);
}

static void the_cache_has_a_place(void **state) {
    (void)state;
    struct str where = {0};
    setenv("HOME", "/h", 1);
    setenv("XDG_CACHE_HOME", "/x", 1);
    setenv("MIXTUNE_CACHE_DIR", "/m", 1);
    assert_int_equal(cache_folder(&where), MT_OK);
    assert_string_equal(where.data, "/m");
    unsetenv("MIXTUNE_CACHE_DIR");
    assert_int_equal(cache_folder(&where), MT_OK);
    assert_string_equal(where.data, "/x/mixtune");
    setenv("XDG_CACHE_HOME", "relative", 1);
    assert_int_equal(cache_folder(&where), MT_OK);
    assert_string_equal(where.data, "/h/.cache/mixtune");
    unsetenv("HOME");
    assert_int_equal(cache_folder(&where), MT_FAILURE);
    str_release(&where);
}

/* ---- logs ---- */

static void levels_drop_messages(void **state) {
    (void)state;
    log_set_level(LOG_WARN);
    assert_true(log_enabled(LOG_ERROR) && log_enabled(LOG_WARN));
    assert_false(log_enabled(LOG_INFO) || log_enabled(LOG_DEBUG));
    log_set_level(LOG_DEBUG);
    assert_true(log_enabled(LOG_DEBUG));
    log_set_level(LOG_INFO);
}

/* ---- loops ---- */

struct visits {
    atomic_int count[1000];
    atomic_int largest;
};

static void visit(void *context, int begin, int end) {
    struct visits *v = context;
    for (int i = begin; i < end; i++)
        atomic_fetch_add(&v->count[i], 1);
    if (end - begin > v->largest)
        v->largest = end - begin;
}

static void loops_visit_every_index_once(void **state) {
    (void)state;
    static const int cases[][2] = {{0, 1}, {1, 1}, {1, 100}, {1000, 1}, {1000, 7}, {999, 1000}, {64, 64}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct visits v = {0};
        parallel_for(cases[c][0], cases[c][1], visit, &v);
        for (int i = 0; i < 1000; i++)
            assert_int_equal(v.count[i], i < cases[c][0]);
        assert_true(v.largest <= cases[c][1]);
    }
    assert_true(parallel_threads() >= 1);
}

/* At most three, the nearest first; what is as near in any order of offers. */
static void near_names_are_found(void **state) {
    (void)state;
    static const char *const models[] = {
        "llama-3.2-1b", "qwen2.5-7b", "llama-3.1-70b", "smollm2-135m", "llama-3.1-8b", "llama-3.1-8b", "", "o"};
    enum { MODELS = sizeof models / sizeof *models };
    static const char *const cases[][2] = {
        {"lama-3.1-8b", "; did you mean llama-3.1-8b?"},
        {"Llama-3.1-8B", "; did you mean llama-3.1-8b?"},
        {"llama-3.1-b8", "; did you mean llama-3.1-8b?"}, /* two that changed places are one edit */
        {"llama-3.1-0b", "; did you mean llama-3.1-70b, llama-3.1-8b or llama-3.2-1b?"},
        {"llama", "; did you mean llama-3.1-70b, llama-3.1-8b or llama-3.2-1b?"},
        {"ll", "; nothing"},
        {"", "; nothing"},
        {"x", "; nothing"}, /* one edit would make o of it, and anything else */
        {"qwen2.5-7b-instruct", "; nothing"},
        {"a name with far more than sixty-four bytes, which no name of ours has", "; nothing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int backwards = 0; backwards < 2; backwards++) {
            struct near near = {.wanted = cases[i][0]};
            struct str said = {0};
            for (int j = 0; j < MODELS; j++)
                near_offer(&near, models[backwards ? MODELS - 1 - j : j]);
            near_print(&near, "; nothing", &said);
            assert_string_equal(said.data, cases[i][1]);
            str_release(&said);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sentences_belong_to_their_thread),
        cmocka_unit_test(sentences_that_do_not_fit_end_in_dots),
        cmocka_unit_test(sentences_are_utf8),
        cmocka_unit_test(long_words_lose_their_middle),
        cmocka_unit_test(strings_grow),
        cmocka_unit_test(an_empty_string_is_a_text),
        cmocka_unit_test(numbers_are_those_of_printf),
        cmocka_unit_test(memory_is_short),
        cmocka_unit_test(arrays_grow),
        cmocka_unit_test(symbols_are_found_or_named),
        cmocka_unit_test(files_are_replaced_whole),
        cmocka_unit_test(only_small_files_are_texts),
        cmocka_unit_test(readers_never_see_half_a_file),
        cmocka_unit_test(failures_are_sentences),
        cmocka_unit_test(folders_are_made),
        cmocka_unit_test(configs_are_found),
        cmocka_unit_test(near_names_are_found),
        cmocka_unit_test(the_cache_has_a_place),
        cmocka_unit_test(levels_drop_messages),
        cmocka_unit_test(loops_visit_every_index_once),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
