/* The files of reports/, in the read-only data of the program. */
#ifndef MT_REPORT_FILES_H
#define MT_REPORT_FILES_H

extern const char report_winners_sql[], report_measurements_sql[], report_failures_sql[];

#endif
