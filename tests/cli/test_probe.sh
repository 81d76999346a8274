#!/bin/bash
# Each limit of `mixtune probe` is kept as it comes: one whose kernel hangs, dies or does not do its work costs no other, and ^C none that
# was measured.
# shellcheck disable=SC2317 # functions called by name
set -u
. tests/cli/cases.sh
. tests/cli/workers.sh
no_watchdog

# l2_latency and dram_latency follow links with this kernel; nothing else does.
mkdir "$TMPDIR/hang" "$TMPDIR/lazy"
sed '/ probe_chase(uint/a for (;;)\n    asm volatile("");' templates/probe.cu >"$TMPDIR/hang/probe.cu"
# Links that are not followed, halves that are not read, and additions of the first CTA alone.
sed '/ probe_chase(uint/,/^}/s/i < 16; i++/i < 15; i++/
    / probe_load(uint/,/^}/s/i < count;/i < count \/ 2;/
    s/^#define NEXT_ADD.* one_add(a, b)/#define NEXT_ADD(a, b, c) (blockIdx.x ? a : one_add(a, b))/' templates/probe.cu >"$TMPDIR/lazy/probe.cu"
probe() { # templates, database, options
    local templates=$1 db=$2
    shift 2
    LD_PRELOAD=$clock MIXTUNE_TEMPLATES=$TMPDIR/$templates "$MIXTUNE" probe --quiet --device soft:a100-sxm-80g --db "$TMPDIR/$db.db" "$@"
}
kept() { sqlite3 "$TMPDIR/$1.db" 'SELECT group_concat(name) FROM (SELECT name FROM device_limit ORDER BY name)'; }
all=add,clock,convert,dram_latency,dram_read_load,dram_write,f16_mma,fma,graph_node,int8_mma,l2_latency,l2_read,launch,lop3,mad,shared_quad,shared_read
others=${all/dram_latency,/}
others=${others/l2_latency,/}

run 0 env -u MIXTUNE_TEMPLATES "$MIXTUNE" probe --quiet --device soft:a100-sxm-80g --db "$TMPDIR/good.db"
[ "$(kept good)" = "$all" ] || verdict="$verdict kept: $(kept good); "
grep -v latency "$TMPDIR/out" >"$TMPDIR/want"
result "every limit is kept"

run 1 probe hang hang --timeout 10s
[ "$(kept hang)" = "$others" ] || verdict="$verdict kept: $(kept hang); "
for name in l2_latency dram_latency; do
    expect "^$name +-  no sign of life for 10 s while it was measured" out
done
grep -v latency "$TMPDIR/out" | diff "$TMPDIR/want" - >>"$TMPDIR/err" || verdict="$verdict other values; "
expect '^mixtune: 2 of 16 limits could not be measured; the others are kept' err
result "a kernel that hangs loses its own limits alone"

run 2 probe lazy lazy --json
busy=${others/dram_read_load,/}
busy=${busy/l2_read,/}
[ "$(kept lazy)" = "${busy/add,/}" ] || verdict="$verdict kept: $(kept lazy); "
for lazy in l2_latency:chase dram_latency:chase l2_read:load dram_read_load:load add:add; do
    expect "\"name\":\"${lazy%:*}\",\"missing\":\"probe_${lazy#*:} gives .* it does not do the work that it would be timed for\"" out
done
[ "$(grep -c '"value":' "$TMPDIR/out")" = 12 ] || verdict="$verdict not twelve values; "
result "so does one that does not do its work"

export reached='^l2_read '
for signal in INT TERM; do
    signalled $signal probe hang "signal-$signal" --timeout 9h
    [ "$(kept "signal-$signal")" = dram_read_load,dram_write,l2_read ] || verdict="$verdict kept: $(kept "signal-$signal"); "
    expect '^mixtune: interrupted; the 3 limits that were measured are kept' err
    result "SIG$signal ends it while a kernel hangs, and keeps what was measured"
done

crashed 1 probe hang crash --timeout 10s
[ "$(kept crash)" = "$others" ] || verdict="$verdict kept: $(kept crash); "
expect '^l2_latency +-  its process was ended by signal 11 \(Segmentation fault\) while it was measured' out
result "a worker that dies loses the limit in hand alone"

finish
