#include "tables.h"

#include "db/store.h"
#include "tuner/progress.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char tables_modelled[] = "MODELLED: every time and ratio in this table is modelled on a software device, "
                               "cold caches and all. They "
                               "compare configurations with each other and are no speed-up of a real GPU.\n";

const char tables_states_differ[] =
    "the two sides of the ratio were measured in different states of the device (clocks, "
    "power limit, reasons to throttle): measure them again in one run before you quote it";

static int count_cells(const struct rows *rows, int first, int last, const char *name, const char *part) {
    int count = 0;
    for (int r = first; r < last; r++)
        count += strstr(rows_cell(rows, r, name), part) != NULL;
    return count;
}

/* What a reader of the table would otherwise take for granted. */
static void print_notes(const struct rows *rows, int first, int last, struct str *out) {
    const int all = last - first, baselines = count_cells(rows, first, last, "baseline_lacks", "cublas"),
              gates = count_cells(rows, first, last, "missing", "gate"),
              differ = count_cells(rows, first, last, "states_differ", "1");
    if (differ)
        str_printf(out, ROWS_MARK " %d of %d rows: %s.\n", differ, all, tables_states_differ);
    if (baselines)
        str_printf(out,
                   "In %d of %d rows the baseline is not the fastest of all libraries: there is no time of those in "
                   "baseline_lacks, and over them the ratio may be lower.\n",
                   baselines, all);
    if (gates)
        str_printf(out,
                   "%d of %d rows were measured without the gate: their times can hold time in which the device waited "
                   "for the host.\n",
                   gates, all);
    int samples = 0, rejected = 0, low = 0;
    for (int r = first; r < last; r++) {
        const int these = atoi(rows_cell(rows, r, "rejected"));
        samples += these;
        rejected += these > 0;
        low += *rows_cell(rows, r, "low_clock") != 0;
    }
    if (rejected)
        str_printf(out, "Of %d rows %d samples were thrown away: the clock was low, or the host was late.\n", rejected,
                   samples);
    if (low)
        str_printf(
            out,
            "On the way to %d rows the SM clock was too low: low_clock is the lowest, over the device's highest. "
            "Where it stayed so, the times are those of that clock.\n",
            low);
}

/* What a narrow terminal has no room for, the least important first; problem, time, configuration and outcome stay. */
#define DROP_FIRST                                                                                                     \
    ",uuid,template_hash,time_model,cublas_version,nvrtc_version,driver_version,missing,spill_bytes,smem_bytes,"       \
    "registers,recorded,sample_count,low_clock,rejected,state,origin,baseline_lacks,baseline_ns,term,launch_ns,"       \
    "split_ns,promote_ns,memory_ns,tensor_ns,gap_ns,floor_share,quantize_ns,baseline_family,"                          \
    "floor_share_with_quantize,family,peer_dtype,dtype,group_size,cache_state,tp,n,k,"
static const char drop[] = DROP_FIRST "ratio,device_name,rows8,ratio_with_quantize,outcome,model,scheme,";
static const char drop_of_peers[] = DROP_FIRST "device_name,rows8,model,scheme,"; /* their ratio is the headline */

/* One table for each origin, so that measured and modelled times never stand under each other. */
static void print_tables(const struct rows *rows, struct str *out) {
    static const char lift[] = ",model,tp,group_size,dtype,cache_state,device_name,template_hash,driver_version,nvrtc_"
                               "version,cublas_version,time_model,"
                               "sample_count,state,family,peer_dtype,baseline_lacks,missing,";
    static const char hide[] =
        ",uuid,low_ns,high_ns,ratio_low,ratio_high,ratio_with_quantize_low,ratio_with_quantize_high,states_differ,";
    const bool peers = rows_column(rows, "peer") >= 0;
    for (int first = 0, last; first < rows->count; first = last) {
        last = rows_run_end(rows, first, "origin");
        if (first)
            str_append(out, "\n");
        if (rows_is(rows, first, "origin", store_origin_name(ORIGIN_MODELLED)) && rows_column(rows, "median_ns") >= 0)
            str_append(out, tables_modelled);
        struct table_style style = {.lift = lift,
                                    .hide = hide,
                                    .rare = ROWS_RARE,
                                    .first = first,
                                    .last = last,
                                    .width = terminal_width(STDOUT_FILENO),
                                    .drop = peers ? drop_of_peers : drop};
        rows_print_table(rows, &style, out);
        print_notes(rows, first, last, out);
    }
}

void tables_print(const struct rows *rows, bool json) {
    struct str out = {0};
    if (json)
        rows_print_json(rows, &out);
    else
        print_tables(rows, &out);
    fwrite(str_text(&out), 1, out.length, stdout);
    str_release(&out);
}

void tables_append(const struct rows *rows, struct table_style style, bool json, struct str *out) {
    style.last = style.last ? style.last : rows->count;
    style.width = terminal_width(STDOUT_FILENO);
    if (json)
        rows_print_json(rows, out);
    else
        rows_print_table(rows, &style, out);
}
