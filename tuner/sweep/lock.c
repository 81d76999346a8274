#include "lock.h"
#include "runtime/base/file.h"
#include "runtime/base/lockfile.h"
#include "runtime/base/log.h"
#include "runtime/jit/cache.h"
#include "tuner/progress.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

struct lock {
    struct str path;
    int fd;
    struct file_lock held;
};

static void append_name(const struct device *dev, const char *db, struct str *path) {
    char *resolved = dev->software ? realpath(db, NULL) : NULL;
    str_printf(path, "/%s", dev->uuid);
    if (resolved)
        str_printf(path, "-%016llx", (unsigned long long)XXH3_64bits(resolved, strlen(resolved)));
    free(resolved);
}

/* The file stays when the lock is released: removing it could part two processes that wait for it. One of another user,
 * or on a read-only medium, is as good; a link, to a file that this user can write, say, is not, and a pipe neither. */
static enum mt_status open_file(struct lock *lock) {
    enum { SAFELY = O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC };
    struct stat info;
    lock->fd = open(lock->path.data, O_RDWR | O_CREAT | SAFELY, 0666);
    if (lock->fd < 0)
        lock->fd = open(lock->path.data, O_RDONLY | SAFELY);
    if (lock->fd < 0)
        return file_fail("write", lock->path.data);
    if (fstat(lock->fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_nlink == 1)
        return MT_OK;
    close(lock->fd);
    lock->fd = -1;
    return fail(MT_FAILURE, "%s is no plain file of its own: remove it", lock->path.data);
}

static enum mt_status open_in_cache(const struct device *dev, const char *db, struct lock *lock) {
    enum mt_status status = cache_make(&lock->path);
    if (status)
        return status;
    str_append(&lock->path, "/locks");
    folder_make(lock->path.data); /* opening the file tells whether it is there */
    append_name(dev, db, &lock->path);
    return open_file(lock);
}

static enum mt_status open_in_runtime(const struct device *dev, const char *db, struct lock *lock) {
    enum mt_status status = runtime_folder(&lock->path);
    if (status)
        return status;
    append_name(dev, db, &lock->path);
    return open_file(lock);
}

static void write_owner(const struct lock *lock) {
    if (ftruncate(lock->fd, 0) == 0)
        dprintf(lock->fd, "%d\n", (int)getpid());
}

/* flock() does not say who holds a lock; nothing is in the file in the moment before its owner has written its
 * number. */
static void describe_owner(const struct lock *lock, char holder[FILE_LOCK_HOLDER]) {
    char text[16] = "";
    const ssize_t length = pread(lock->fd, text, sizeof text - 1, 0);
    const int owner = length > 0 ? atoi(text) : 0;
    if (owner > 0 && !strcmp(holder, FILE_LOCK_UNKNOWN))
        snprintf(holder, FILE_LOCK_HOLDER, "process %d", owner);
}

static enum mt_status wait_for_lock(struct lock *lock, const struct device *dev, bool wait, double deadline) {
    char owner[FILE_LOCK_HOLDER];
    for (bool told = false; !file_lock(lock->fd, lock->path.data, &lock->held, owner); told = true) {
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

enum mt_status lock_take(const struct device *dev, const char *db, bool wait, double deadline, struct lock **out) {
    struct lock *lock = xcalloc(1, sizeof *lock);
    lock->fd = -1;
    *out = NULL;
    if (open_in_cache(dev, db, lock) && open_in_runtime(dev, db, lock)) {
        log_warn("there is no place for the lock of %s, so nothing keeps other sweeps off it: %s", dev->name,
                 fail_message());
        lock_release(lock);
        return MT_OK;
    }
    enum mt_status status = wait_for_lock(lock, dev, wait, deadline);
    if (status) {
        lock_release(lock);
        return status;
    }
    write_owner(lock);
    *out = lock;
    return MT_OK;
}

void lock_release(struct lock *lock) {
    if (!lock)
        return;
    file_unlock(&lock->held);
    if (lock->fd >= 0)
        close(lock->fd);
    str_release(&lock->path);
    free(lock);
}
