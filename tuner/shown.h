/* Text from elsewhere as an argument of printf(). */
#ifndef MT_SHOWN_H
#define MT_SHOWN_H

/* The text made visible (runtime/base/visible.h). Valid until SHOWN_MOST more calls in this thread; not to be freed. */
enum { SHOWN_MOST = 8 };
const char *shown(const char *text);

#endif
