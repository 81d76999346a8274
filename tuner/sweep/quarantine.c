#include "quarantine.h"
#include "runtime/base/array.h"
#include "tuner/report/rows.h"
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct quarantined {
    char binary[33]; /* hash of the image */
    char reason[200];
};

static const struct quarantined *find(const struct quarantine *q, const char *binary) {
    for (int i = 0; i < q->count; i++)
        if (!strcmp(q->item[i].binary, binary))
            return &q->item[i];
    return NULL;
}

static void add(struct quarantine *q, const char *binary, const char *outcome, const char *message) {
    if (!*binary || strlen(binary) >= sizeof q->item->binary || find(q, binary)) /* a longer one is no hash of ours */
        return;
    array_grow(&q->item, &q->capacity, (size_t)q->count, sizeof *q->item);
    struct quarantined *new = &q->item[q->count++];
    snprintf(new->binary, sizeof new->binary, "%s", binary);
    text_fit(new->reason, sizeof new->reason, "%s: %s", outcome, message);
}

enum mt_status quarantine_init(struct quarantine *q, struct store *store, const struct device *dev) {
    static const char sql[] = "SELECT binary, outcome, message FROM fact JOIN standing USING (id) WHERE uuid = ? "
                              "AND outcome IN ('timeout', 'crash', 'illegal-address') ORDER BY created";
    struct sqlite3 *db = store_handle(store);
    sqlite3_stmt *rows = NULL;
    *q = (struct quarantine){0};
    enum mt_status status = store_standing(store);
    if (status)
        return status;
    int rc = sqlite3_prepare_v2(db, sql, -1, &rows, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(rows, 1, dev->uuid, -1, SQLITE_STATIC);
    while (rc == SQLITE_OK && (rc = sqlite3_step(rows)) == SQLITE_ROW) {
        add(q, (const char *)sqlite3_column_text(rows, 0), (const char *)sqlite3_column_text(rows, 1),
            (const char *)sqlite3_column_text(rows, 2));
        rc = SQLITE_OK;
    }
    sqlite3_finalize(rows);
    return rc == SQLITE_DONE ? MT_OK : rows_unreadable(db);
}

void quarantine_release(struct quarantine *q) {
    free(q->item);
    *q = (struct quarantine){0};
}

void quarantine_note(struct quarantine *q, const struct measured *measured) {
    if (measured->tries > 1 && (measured->outcome == OUTCOME_TIMEOUT || measured->outcome == OUTCOME_CRASH ||
                                measured->outcome == OUTCOME_ILLEGAL_ADDRESS))
        add(q, measured->binary, store_outcome_name(measured->outcome), measured->message);
}

bool quarantine_refuses(const struct quarantine *q, const struct binary *binary, struct measured *out) {
    const struct quarantined *found = binary && !binary->status ? find(q, binary->image.hash) : NULL;
    if (!found)
        return false;
    *out = (struct measured){.outcome = OUTCOME_REFUSED, .tries = 2};
    measured_binary(out, binary);
    text_fit(out->message, sizeof out->message,
             "quarantined: its binary failed twice before (%s); --retry runs it again", found->reason);
    return true;
}
