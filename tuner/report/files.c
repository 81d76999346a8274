#include "files.h"

#include "runtime/base/embed.h"

EMBED_FILE(report_winners_sql, "reports/winners.sql");
EMBED_FILE(report_measurements_sql, "reports/measurements.sql");
EMBED_FILE(report_failures_sql, "reports/failures.sql");
EMBED_FILE(report_floor_sql, "reports/floor.sql");
EMBED_FILE(report_bench_sql, "reports/bench.sql");
EMBED_FILE(report_sets_sql, "reports/sets.sql");
EMBED_FILE(report_curves_sql, "reports/curves.sql");
EMBED_FILE(report_devices_sql, "reports/devices.sql");
EMBED_FILE(report_outcomes_sql, "reports/outcomes.sql");
EMBED_FILE(report_export_sql, "reports/export.sql");
EMBED_FILE(report_split_times_sql, "reports/split_times.sql");
EMBED_FILE(report_gpus_sql, "reports/gpus.sql");
EMBED_FILE(report_replay_sql, "reports/replay.sql");
EMBED_FILE(report_peers_sql, "reports/peers.sql");
EMBED_FILE(report_peer_curves_sql, "reports/peer_curves.sql");
EMBED_FILE(report_peer_summary_sql, "reports/peer_summary.sql");
EMBED_FILE(report_paper_sql, "reports/paper.sql");
EMBED_FILE(report_style_gp, "reports/style.gp");
EMBED_FILE(report_speedup_gp, "reports/speedup.gp");
EMBED_FILE(report_time_gp, "reports/time.gp");
EMBED_FILE(report_winners_gp, "reports/winners.gp");
EMBED_FILE(report_replay_gp, "reports/replay.gp");
EMBED_FILE(report_peers_gp, "reports/peers.gp");
EMBED_FILE(report_page_html, "reports/page.html");
