/* The rows of a query and their tables, byte for byte. */
#include "tuner/report/rows.h"
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

static sqlite3 *db;
static char path[] = "/tmp/mixtune-rows-XXXXXX";

static int open_file(void **state) {
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 || close(fd) || sqlite3_open(path, &db);
}

static int close_file(void **state) {
    (void)state;
    return sqlite3_close(db) || unlink(path);
}

static void check_sentence(const char *why) {
    char want[200];
    snprintf(want, sizeof want, "%s: cannot read it: the database refused it (SQLite: %s)", path, why);
    assert_string_equal(fail_message(), want);
}

static struct rows read_rows(const char *sql) {
    struct rows rows;
    if (rows_read(db, sql, NULL, &rows) != MT_OK)
        fail_msg("%s", fail_message());
    return rows;
}

static void test_reading(void **state) {
    (void)state;
    const char *const values[] = {":b", "two", ":unused", "x", ":a", "one", NULL};
    struct rows rows;
    assert_int_equal(
        rows_read(db, "SELECT :a AS a, :b AS b, NULL AS c, 7 AS d UNION ALL SELECT 'A', 'B', 'C', 8", values, &rows),
        MT_OK);
    assert_int_equal(rows.count, 2);
    assert_int_equal(rows.columns, 4);
    assert_string_equal(rows_cell(&rows, 0, "a"), "one");
    assert_string_equal(rows_cell(&rows, 0, "b"), "two");
    assert_string_equal(rows_cell(&rows, 0, "c"), "");
    assert_string_equal(rows_cell(&rows, 1, "c"), "C");
    assert_string_equal(rows_cell(&rows, 1, "d"), "8");
    assert_string_equal(rows_cell(&rows, 1, "e"), "");
    assert_int_equal(rows_column(&rows, "a"), 0);
    assert_int_equal(rows_column(&rows, "d"), 3);
    assert_int_equal(rows_column(&rows, "e"), -1);
    assert_true(rows.text[0] && rows.text[1] && rows.text[2] && !rows.text[3]);
    rows_release(&rows);
    rows = read_rows("SELECT 1 AS n WHERE 0");
    assert_int_equal(rows.count, 0);
    assert_int_equal(rows.columns, 1);
    rows_release(&rows);
}

/* More rows than the first allocation holds, and than twice that. */
static void test_many_rows(void **state) {
    (void)state;
    struct rows rows = read_rows("WITH RECURSIVE c(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c WHERE n < 299) "
                                 "SELECT n, n / 100 AS hundreds FROM c");
    assert_int_equal(rows.count, 300);
    assert_string_equal(rows_cell(&rows, 64, "n"), "64");
    assert_string_equal(rows_cell(&rows, 299, "n"), "299");
    assert_int_equal(rows_run_end(&rows, 0, "hundreds"), 100);
    assert_int_equal(rows_run_end(&rows, 150, "hundreds"), 200);
    assert_int_equal(rows_run_end(&rows, 299, "hundreds"), 300);
    rows_release(&rows);
}

static void test_bad_queries(void **state) {
    (void)state;
    struct rows rows;
    assert_int_equal(rows_read(db, "SELECT 1 FROM nowhere", NULL, &rows), MT_FAILURE);
    check_sentence("no such table: nowhere");
    /* The second row fails, when one is already read. */
    assert_int_equal(
        rows_read(db, "SELECT abs(x) FROM (SELECT 1 AS x UNION ALL SELECT -9223372036854775807 - 1)", NULL, &rows),
        MT_FAILURE);
    check_sentence("integer overflow");
    assert_int_equal(rows.count, 0);
}

static const char numbers[] =
    "SELECT 'llama' AS model, 'fp16' AS dtype, 'o' AS layer, 12345 AS N, 1000.0 / 3 AS mean_ns, 2 AS ratio_f16, "
    "0 AS rejected, NULL AS missing, 'x' AS secret, 0 AS low_clock UNION ALL "
    "SELECT 'llama', 'bf16', 'q\xc3\xbcv', 7, 1234500.0, NULL, 0, '', 'y', 3";

static void check_table(const struct rows *rows, const struct table_style *style, const char *want) {
    struct str out = {0};
    rows_print_table(rows, style, &out);
    assert_string_equal(out.data, want);
    str_release(&out);
}

/* Text to the left and numbers to the right, as wide as the widest; what all rows share stands above, if it is
 * anything; nothing is said of what is hidden, and of rare things only where there are some. */
static void test_table(void **state) {
    (void)state;
    struct rows rows = read_rows(numbers);
    const struct table_style style = {
        .lift = ",model,dtype,", .hide = ",secret,", .rare = ROWS_RARE, .first = 0, .last = 2};
    check_table(&rows, &style,
                "model llama\n"
                "dtype  layer      N  mean_us  ratio_f16  low_clock\n"
                "fp16   o      12345     0.33      2.00x          0\n"
                "bf16   q\xc3\xbcv        7  1234.50          -          3\n");
    struct table_style first = style;
    first.last = 1;
    check_table(&rows, &first,
                "model llama, dtype fp16\n"
                "layer      N  mean_us  ratio_f16\n"
                "o      12345     0.33      2.00x\n");
    check_table(&rows, &(struct table_style){.hide = ",dtype,N,mean_ns,rejected,missing,low_clock,", .last = 1},
                "model  layer  ratio_f16  secret\n"
                "llama  o          2.00x  x\n");
    rows_release(&rows);
}

/* Ratios of two states of the device carry a mark; shares are percentages. */
static void test_marks_and_shares(void **state) {
    (void)state;
    struct rows rows =
        read_rows("SELECT 1 AS m, 2.004 AS ratio_with_quantize, 0.666 AS floor_share, 1 AS states_differ "
                  "UNION ALL SELECT 2, 1, 1, 0 UNION ALL SELECT 4, NULL, NULL, 1");
    check_table(&rows, &(struct table_style){.hide = ",states_differ,", .last = 3},
                "m  ratio_with_quantize  floor_share\n"
                "1               2.00x*          67%\n"
                "2                1.00x         100%\n"
                "4                    -            -\n");
    rows_release(&rows);
}

/* What is too wide: columns go in the order of `drop`, as few as will do, and long texts keep their two ends. */
static void test_narrow_tables(void **state) {
    (void)state;
#define LONG_TEXT "first=1,gr\u00fc\u00df=2,\u6a21\u578b=3,last=44"
    struct rows rows =
        read_rows("SELECT 'gate' AS layer, 2048 AS n, 7000 AS mean_ns, 1 AS tp, '" LONG_TEXT "' AS config, "
                  "'fp16' AS dtype UNION ALL SELECT 'o', 64, 5, 1, 'short', 'bf16'");
    static const struct {
        int width;
        const char *want;
    } cases[] = {
        {60, "layer     n  mean_us  tp  config                       dtype\n"
             "gate   2048     7.00   1  " LONG_TEXT "  fp16\n"
             "o        64     0.01   1  short                        bf16\n"},
        {45, "layer     n  mean_us  config            dtype\n"
             "gate   2048     7.00  first=1,\u2026last=44  fp16\n"
             "o        64     0.01  short             bf16\n"
             "To fit 45 columns, left out: tp; shortened: config; --json leaves out nothing.\n"},
        {24, "layer  config\n"
             "gate   first=1,\u2026,last=44\n"
             "o      short\n"
             "To fit 24 columns, left out: n, mean_us, tp, dtype; shortened: config; --json leaves out nothing.\n"},
        {56, "layer     n  mean_us  tp  config                   dtype\n"
             "gate   2048     7.00   1  first=1,gr\u00fc\u2026\u578b=3,last=44  fp16\n"
             "o        64     0.01   1  short                    bf16\n"
             "To fit 56 columns, shortened: config; --json leaves out nothing.\n"},
    };
    struct table_style style = {.drop = ",tp,nowhere,dtype,mean_ns,n,layer,", .last = 2};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        style.width = cases[i].width;
        check_table(&rows, &style, cases[i].want);
    }
    /* Row by row, the others are without what the first had no room for. */
    struct table_rest rest = {0};
    struct str out = {0};
    style = (struct table_style){.drop = style.drop, .last = 1, .width = 45, .rest = &rest};
    check_table(&rows, &style,
                "layer     n  mean_us  config            dtype\n"
                "gate   2048     7.00  first=1,\u2026last=44  fp16\n");
    style = (struct table_style){.first = 1, .last = 2, .headless = true, .width = 80, .rest = &rest};
    check_table(&rows, &style, "o      64     0.01  short   bf16\n");
    rows_print_rest(&rest, 45, &out);
    assert_string_equal(out.data, "To fit 45 columns, left out: tp; shortened: config; --json leaves out nothing.\n");
    table_rest_release(&rest);
    str_release(&out);
    rows_release(&rows);
}

/* What is lifted and says nothing is not shown at all. */
static void test_lifted_nothing(void **state) {
    (void)state;
    struct rows rows = read_rows("SELECT '' AS model, 1 AS M UNION ALL SELECT NULL, 20");
    check_table(&rows, &(struct table_style){.lift = ",model,", .last = 2}, " M\n 1\n20\n");
    check_table(&rows, &(struct table_style){.hide = ",M,", .last = 2}, "model\n-\n-\n");
    rows_release(&rows);
}

static void test_html(void **state) {
    (void)state;
    struct rows rows = read_rows("SELECT 'a<b & \"c\">''' || char(27, 10) AS config, 'same' AS model, 1500 AS time_ns");
    struct str out = {0};
    rows_print_html(&rows, &(struct table_style){.lift = ",model,", .last = 1}, &out);
    assert_string_equal(out.data,
                        "<p class=\"shared\">model same</p>\n"
                        "<div class=\"scroll\"><table>\n"
                        "<thead><tr><th class=\"text\">config</th><th>time_us</th></tr></thead>\n<tbody>\n"
                        "<tr><td class=\"text\">a&lt;b &amp; &quot;c&quot;&gt;&#39;\\x1b\\x0a</td><td>1.50</td></tr>\n"
                        "</tbody></table></div>\n");
    str_clear(&out);
    rows_print_html(&rows, &(struct table_style){.hide = ",config,model,", .last = 0}, &out);
    assert_string_equal(out.data, "<div class=\"scroll\"><table>\n<thead><tr><th>time_us</th></tr></thead>\n"
                                  "<tbody>\n</tbody></table></div>\n");
    str_release(&out);
    rows_release(&rows);
}

/* RFC 4180: fields with commas or quotes are quoted, and quotes in them doubled; line ends are visible. What begins
 * like a formula is told from what began with the mark of that. */
static void test_csv(void **state) {
    (void)state;
    struct rows rows =
        read_rows("SELECT 'a,b' AS config, 'say \"no\"' AS \"two, words\", 1.25 AS x, NULL AS y UNION ALL "
                  "SELECT 'line' || char(10) || 'end', 'plain', -3, 'r' || char(13) UNION ALL "
                  "SELECT '=1+1', '-x', -4, char(65309) || '1' UNION ALL SELECT '''=', '@a,b', 5, '+'");
    struct str out = {0};
    rows_print_csv(&rows, &out);
    assert_string_equal(out.data, "config,\"two, words\",x,y\n"
                                  "\"a,b\",\"say \"\"no\"\"\",1.25,\n"
                                  "line\\x0aend,plain,-3,r\\x0d\n"
                                  "'=1+1,'-x,-4,'\uff1d1\n"
                                  "''=,\"'@a,b\",5,'+\n");
    str_release(&out);
    rows_release(&rows);
}

/* Text stays what it is, escaped where a terminal would obey it; what is no UTF-8 is made visible. */
static void test_hostile_json(void **state) {
    (void)state;
    struct rows rows = read_rows("SELECT char(27, 127, 155, 8238, 917505, 228) AS a, CAST(x'61ff62' AS TEXT) AS b, "
                                 "CAST(x'610062' AS TEXT) AS c");
    struct str out = {0};
    rows_print_json(&rows, &out);
    assert_string_equal(out.data, "{\"a\":\"\\u001B\\u007f\\u009b\\u202e\\udb40\\udc01\u00e4\","
                                  "\"b\":\"a\\\\xffb\",\"c\":\"a\\\\x00b\"}\n");
    str_release(&out);
    rows_release(&rows);
}

/* Numbers stay numbers, whole ones whole; a column with some text is text. */
static void test_json(void **state) {
    (void)state;
    struct rows rows = read_rows("SELECT 1 AS n, 0.1 AS real, 1e300 AS large, 9007199254740993 AS whole, '5' AS text, "
                                 "NULL AS none, 6 AS mixed UNION ALL SELECT -2, 2.0, 5, 0, 'a\"b', NULL, 'six'");
    struct str out = {0};
    rows_print_json(&rows, &out);
    assert_string_equal(out.data, "{\"n\":1,\"real\":0.1,\"large\":1e300,\"whole\":9007199254740993,\"text\":\"5\","
                                  "\"none\":null,\"mixed\":\"6\"}\n"
                                  "{\"n\":-2,\"real\":2.0,\"large\":5,\"whole\":0,\"text\":\"a\\\"b\",\"none\":null,"
                                  "\"mixed\":\"six\"}\n");
    str_release(&out);
    rows_release(&rows);
}

/* Rows that are put cell by cell are as those of a query. */
static void test_put(void **state) {
    (void)state;
    struct rows rows;
    rows_init(&rows, "layer,n,note", ",layer,note,");
    assert_int_equal(rows.columns, 3);
    for (int i = 0; i < 40; i++) {
        rows_put(&rows, "%s%d", "q", i);
        assert_int_equal(rows.count, i);
        rows_put(&rows, "%.1f", i / 2.0);
        rows_put(&rows, i == 7 ? "" : NULL);
        assert_int_equal(rows.count, i + 1);
    }
    assert_string_equal(rows_cell(&rows, 39, "layer"), "q39");
    assert_string_equal(rows_cell(&rows, 3, "n"), "1.5");
    assert_null(rows.cell[6 * 3 + 2]);
    assert_string_equal(rows.cell[7 * 3 + 2], "");
    check_table(&rows, &(struct table_style){.first = 6, .last = 8, .rare = ",note,"},
                "layer    n\nq6     3.0\nq7     3.5\n");
    rows_release(&rows);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reading),
        cmocka_unit_test(test_many_rows),
        cmocka_unit_test(test_bad_queries),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_narrow_tables),
        cmocka_unit_test(test_marks_and_shares),
        cmocka_unit_test(test_lifted_nothing),
        cmocka_unit_test(test_html),
        cmocka_unit_test(test_csv),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_put),
        cmocka_unit_test(test_hostile_json),
    };
    return cmocka_run_group_tests(tests, open_file, close_file);
}
