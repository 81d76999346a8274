#include "lock.h"
#include "runtime/base/file.h"
#include "runtime/base/log.h"
#include "tuner/progress.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

/* The lock's file; its folder exists afterwards. */
static enum mt_status lock_path(const struct device *dev, const char *db, struct str *path) {
    enum mt_status status = cache_folder(path);
    if (status)
        return status;
    str_append(path, "/locks");
    if ((status = folder_make(path->data)))
        return status;
    str_printf(path, "/%s", dev->uuid);
    char *resolved = dev->software ? realpath(db, NULL) : NULL;
    if (resolved)
        str_printf(path, "-%016llx", (unsigned long long)XXH3_64bits(resolved, strlen(resolved)));
    free(resolved);
    return MT_OK;
}

static void write_owner(int lock) {
    if (ftruncate(lock, 0) == 0)
        dprintf(lock, "%d\n", (int)getpid());
}

/* "process 123", or "another process" in the moment before it has written its number. */
static void describe_owner(int lock, char out[32]) {
    char text[16] = "";
    ssize_t length = pread(lock, text, sizeof text - 1, 0);
    int owner = length > 0 ? atoi(text) : 0;
    if (owner > 0)
        snprintf(out, 32, "process %d", owner);
    else
        snprintf(out, 32, "another process");
}

static enum mt_status wait_for_lock(int lock, const struct device *dev, bool wait, double deadline) {
    char owner[32];
    for (bool told = false; flock(lock, LOCK_EX | LOCK_NB) != 0; told = true) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return fail(MT_FAILURE, "the device's lock cannot be taken: %m");
        describe_owner(lock, owner);
        if (!wait)
            return fail(MT_FAILURE, "%s sweeps on %s (%s); wait until it ends, or run without --no-wait", owner,
                        dev->name, dev->uuid);
        if (!told)
            log_info("%s sweeps on %s; waiting until it ends (--no-wait refuses instead)", owner, dev->name);
        if (interrupted() || (deadline > 0 && seconds_now() > deadline))
            return fail(MT_INTERRUPTED, "%s while %s swept on %s; nothing was measured",
                        interrupted() ? "interrupted" : "stopped at the time limit", owner, dev->name);
        nanosleep(&(struct timespec){.tv_nsec = 100 * 1000 * 1000}, NULL);
    }
    return MT_OK;
}

enum mt_status lock_take(const struct device *dev, const char *db, bool wait, double deadline, int *lock) {
    struct str path = {0};
    *lock = -1;
    enum mt_status status = lock_path(dev, db, &path);
    if (status)
        goto out;
    /* The file stays when the lock is released: removing it could part two processes that wait for it. */
    *lock = open(path.data, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (*lock < 0) {
        status = fail(MT_FAILURE, "%s: the device's lock cannot be opened: %m", path.data);
        goto out;
    }
    status = wait_for_lock(*lock, dev, wait, deadline);
    if (!status)
        write_owner(*lock);
out:
    if (status) {
        lock_release(*lock);
        *lock = -1;
    }
    str_release(&path);
    return status;
}

void lock_release(int lock) {
    if (lock >= 0)
        close(lock);
}
