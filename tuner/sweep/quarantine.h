/* Binaries that hung, crashed or faulted twice, in processes of their own, and are not run again: a launch of one may
 * cost a minute, or the device. */
#ifndef MT_QUARANTINE_H
#define MT_QUARANTINE_H

#include "tuner/measure/measure.h"

struct quarantine {
    struct quarantined *item; /* one for each binary */
    int count;
    size_t capacity;
};

/* Starts with the binaries that a current measurement of this device in `store` condemns. */
enum mt_status quarantine_init(struct quarantine *q, struct store *store, const struct device *dev);
void quarantine_release(struct quarantine *q);

/* Looks at what became of a candidate. */
void quarantine_note(struct quarantine *q, const struct measured *measured);
/* True, with *out filled in (refused, and why), if the candidate's binary may not run. NULL for a library kernel. */
bool quarantine_refuses(const struct quarantine *q, const struct binary *binary, struct measured *out);

#endif
