#include "report_files.h"

#include "../runtime/base/embed.h"

EMBED_FILE(report_winners_sql, "reports/winners.sql");
EMBED_FILE(report_measurements_sql, "reports/measurements.sql");
EMBED_FILE(report_failures_sql, "reports/failures.sql");
