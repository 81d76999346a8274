/* What a device can do at best: rows of device_limit. */
#include "key.h"
#include "sql.h"
#include "store_private.h"

enum mt_status store_record_limit(struct store *store, const struct store_limit *limit) {
    if (!store->run)
        return fail(MT_FAILURE, "%s: a limit belongs to a run, and none was begun: call store_begin() first",
                    store->path);
    const char *origin = store_origin_name(limit->origin);
    int64_t created = 0;
    enum mt_status status = store_lock(store);
    if (status != MT_OK)
        return status;
    status = store_clock(store, "SELECT max(created) FROM device_limit", &created);
    if (status == MT_OK)
        status = store_insert(store,
                              "INSERT INTO device_limit SELECT content_key('device_limit', ?1, ?2, ?3, ?4, ?5, ?6), "
                              "?1, ?2, ?3, ?4, ?5, ?6",
                              "itrtti", store->run, limit->name, limit->value, sql_text(limit->unit), origin, created);
    return store_unlock(store, status);
}
