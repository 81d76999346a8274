/* How far a long command is: a bar on a terminal, otherwise a line every few seconds, always on standard error. */
#ifndef MT_PROGRESS_H
#define MT_PROGRESS_H

#include <stdbool.h>

struct progress {
    const char *verb; /* "compile", "sweep" */
    long total, done, failed;
    double started, shown; /* seconds */
    bool quiet, terminal, colour;
};

/* `verb` must live as long as the progress. */
void progress_init(struct progress *p, const char *verb, long total, bool quiet);
/* One more is done. `note` says what is best so far, or is NULL. Not for use by two threads at once. */
void progress_step(struct progress *p, bool good, const char *note);
/* Clears the bar and prints the last line. */
void progress_release(struct progress *p);

/* Columns of the terminal that `fd` is: what COLUMNS says, else what it says itself. 0 if it is none. */
int terminal_width(int fd);

/* Seconds of a clock that only goes forwards. */
double seconds_now(void);

/* ^C and SIGTERM: after interrupt_catch() they only set a mark, which interrupted() reads. A second one, half a second
 * later or more, ends the process. */
void interrupt_catch(void);
bool interrupted(void);

#endif
