/* Locks between processes, where the file system has flock() and where it has not. */
#ifndef MT_BASE_LOCKFILE_H
#define MT_BASE_LOCKFILE_H

#include <stdbool.h>

struct file_lock {
    char *name; /* of the lock file, owned; NULL: none was needed, or none could be made */
    int pid;    /* who made it: a child that was forked afterwards does not remove it */
};
enum { FILE_LOCK_HOLDER = 512 };
#define FILE_LOCK_UNKNOWN "another process" /* a holder of which nothing is known */

/* Takes the lock of the file or folder `path`, which is open as `fd`; false if another process has it, and `holder`
 * says which, as far as that is known.
 *
 * With flock() the lock lasts as long as `fd` is open here or in a child. On Lustre without -o flock and on NFS without
 * lockd there is none: then a file PATH.lock says which process of which host has it. What it names and is dead, on this
 * host, loses it to the next; one of another host has to be removed by hand, and `holder` names it. Where no such file
 * can be made there is a warning and no lock. */
bool file_lock(int fd, const char *path, struct file_lock *lock, char holder[FILE_LOCK_HOLDER]);

/* Removes PATH.lock; closing `fd` is the caller's. Zeroes are allowed. */
void file_unlock(struct file_lock *lock);

#endif
