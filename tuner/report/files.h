/* The files of reports/, in the read-only data of the program. */
#ifndef MT_REPORT_FILES_H
#define MT_REPORT_FILES_H

extern const char report_winners_sql[], report_measurements_sql[], report_failures_sql[], report_floor_sql[],
    report_bench_sql[], report_sets_sql[], report_curves_sql[], report_devices_sql[], report_outcomes_sql[],
    report_export_sql[], report_tokens_sql[], report_regret_m_sql[], report_times_sql[], report_trees_sql[],
    report_gpus_sql[], report_replay_sql[];
extern const char report_splits_sql[], report_regret_sql[];
extern const char report_style_gp[], report_picture_gp[], report_speedup_gp[], report_time_gp[], report_winners_gp[],
    report_replay_gp[], report_salience_gp[];
extern const char report_peers_sql[], report_peer_curves_sql[], report_peer_summary_sql[], report_paper_sql[];
extern const char report_peers_gp[], report_page_html[];

#endif
