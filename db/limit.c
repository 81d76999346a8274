/* What a device can do at best: rows of device_limit. */
#include "columns.h"
#include "store_private.h"
#include <stddef.h>

enum mt_status store_record_limit(struct store *store, const struct store_limit *limit) {
    if (!store->run)
        return fail(MT_FAILURE, "%s: a limit belongs to a run, and none was begun: call store_begin() first",
                    store->path);
    int64_t created = 0, key;
    struct insert into = {0};
    enum mt_status status = store_lock(store);
    if (status != MT_OK)
        return status;
    status = store_clock(store, "SELECT max(created) FROM device_limit", &created);
    if (status == MT_OK)
        status = insert_begin(store, "device_limit", &into);
    if (status == MT_OK) {
        insert_number(&into, "run", store->run);
        insert_text(&into, "name", limit->name);
        insert_real(&into, "value", limit->value);
        insert_text(&into, "unit", limit->unit);
        insert_text(&into, "origin", store_origin_name(limit->origin));
        insert_number(&into, "created", created);
        status = insert_row(&into, &key, NULL);
    }
    insert_release(&into);
    return store_unlock(store, status);
}
