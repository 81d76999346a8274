/* A run of the store: one device, in the state that it has now. */
#ifndef MT_RUN_H
#define MT_RUN_H

#include "worker.h"

/* What is recorded in `store` from here on was measured by this worker. `command` is for people. */
enum mt_status run_begin(struct store *store, const struct worker *worker, const char *command);

#endif
