/* Progress and logs, always on standard error. */
#ifndef MT_BASE_LOG_H
#define MT_BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* The level below which messages are dropped: LOG_INFO, or what MIXTUNE_LOG names (error, warn, info, debug). */
void log_set_level(enum log_level level);
bool log_enabled(enum log_level level);

void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Once for each subject, here and in all processes that are forked from this one after log_share(). */
void log_warn_once(const char *subject, const char *format, ...) __attribute__((format(printf, 2, 3)));
void log_share(void);
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
