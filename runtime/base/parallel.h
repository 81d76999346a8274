/* Host loops over all cores. */
#ifndef MT_BASE_PARALLEL_H
#define MT_BASE_PARALLEL_H

/* Cores that this process may use, >= 1. */
int parallel_threads(void);

/* Calls body(context, begin, end) until every index of 0 .. count - 1 has been covered once, in pieces of at most
 * `grain`, on all cores, the calling thread among them. Returns when all are done. The order is not defined: a body
 * must write only what belongs to its own indices. */
void parallel_for(int count, int grain, void (*body)(void *context, int begin, int end), void *context);

#endif
