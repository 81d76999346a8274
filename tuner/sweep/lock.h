/* One sweep at a time on one device. */
#ifndef MT_LOCK_H
#define MT_LOCK_H

#include "runtime/gpu/device.h"

struct lock;

/* Takes the lock of a device for as long as this process and those forked from it afterwards live, or until
 * lock_release(). It is a file below locks/ in the cache folder (MIXTUNE_CACHE_DIR), or in runtime_folder() where that
 * cannot be written, named after the device's UUID; file_lock() says what holds it. Where there is no place for it at
 * all, a warning is, and *out is NULL.
 * Sweeps on a software device disturb no one's times: they exclude each other only when they fill the same database
 * `db`, where two would measure everything twice.
 *
 * When another process holds it: waits, saying so, until `deadline` (of seconds_now(); 0: none) or ^C, which are
 * MT_INTERRUPTED; without `wait` it is MT_FAILURE at once. The sentence names the process. */
enum mt_status lock_take(const struct device *dev, const char *db, bool wait, double deadline, struct lock **out);
/* NULL is allowed. */
void lock_release(struct lock *lock);

#endif
