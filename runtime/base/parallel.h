/* Host loops over all cores. */
#ifndef MT_BASE_PARALLEL_H
#define MT_BASE_PARALLEL_H

/* Cores that this process may use, >= 1, and at most what parallel_limit() says. */
int parallel_threads(void);
/* Of all loops from now on: at most so many threads; 0: all cores. */
void parallel_limit(int threads);

/* Calls body(context, begin, end) until every index of 0 .. count - 1 has been covered once, in pieces of at most
 * `grain`, by parallel_threads() threads, the calling one among them. Returns when all are done. The order is not
 * defined: a body must write only what belongs to its own indices. */
void parallel_for(int count, int grain, void (*body)(void *context, int begin, int end), void *context);

#endif
