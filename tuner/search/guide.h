/* Modelled times as a guide for measured ones: what software devices of the same kind of GPU said of the same
 * kernels. */
#ifndef MT_SEARCH_GUIDE_H
#define MT_SEARCH_GUIDE_H

#include "runtime/family/family.h"

struct sqlite3;

/* Reads the current modelled times of these configurations on this shape. Of several software devices with this compute
 * capability, the one whose SM count is nearest. *modelled_ns becomes an array of `count` (0: unknown), owned by the
 * caller, or NULL where the database knows none of them. */
enum mt_status guide_read(struct sqlite3 *db, const struct problem *problem, int cc, int sm_count,
                          const struct config *config, int count, double **modelled_ns);

#endif
