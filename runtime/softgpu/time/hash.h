/* Which time model this is: modelled times of two hashes are never compared. */
#ifndef SG_TIME_HASH_H
#define SG_TIME_HASH_H

#include "runtime/softgpu/profile/profile.h"

enum { MODEL_HASH = 17 }; /* characters, with the 0 at the end */

/* Of the sources that decide a modelled time (MODEL_SOURCES in the Makefile) and of the device's file. */
void model_hash(const struct dev_profile *device, char out[MODEL_HASH]);

#endif
