#!/bin/bash
# Calibration from a trace: the lines of the trace are those of the candidates, to the nanosecond, and a fit finds what was changed.
# SIMULATED: the "measured" times are modelled ones of a device whose constants were altered. No GPU is involved.
# shellcheck disable=SC2317 # a function called by name
set -u
. tests/cli/cases.sh
calibrate=$BUILD/tests/gpu/soft_calibrate
db=$TMPDIR/t.db trace=$TMPDIR/trace
device=soft:a100-sxm-80g
cat >"$TMPDIR/space.yaml" <<'EOS'
family: sm80
values:
  tile_n: [64, 128]
  tile_m: [16, 64]
  split_k: [1, 4]
EOS

# sweep DEVICE DB: the same candidates each time
sweep() {
    "$MIXTUNE" sweep --quiet --device "$1" --db "$2" --space "$TMPDIR/space.yaml" --shape 2048,1024 --m 1,16,300
}
SOFTGPU_TRACE=$trace run 0 sweep "$device" "$db"
python3 - "$db" "$trace" <<'EOS' >"$TMPDIR/err" 2>&1 || verdict+=" the trace is not the database's"
import json, sqlite3, sys
lines = {json.loads(line)["label"]: json.loads(line)["seconds"] * 1e9 for line in open(sys.argv[2])}
rows = sqlite3.connect(sys.argv[1]).execute(
    "SELECT printf('%s|%s|%d|%d|%d|%s|%d|%d|%s', family, config, m, n, k, scheme, rows8, group_size, dtype), median_ns FROM current WHERE outcome = 'ok'")
rows = dict(rows.fetchall())
assert len(rows) > 24 and set(rows) <= set(lines), (len(rows), set(rows) - set(lines))
for label, ns in rows.items():  # what lies between two launches, or two nodes of a graph
    gap = min(abs(lines[label] + us * 1e3 - ns) for us in (0.31, 1.61))
    assert gap < 1, (label, ns, lines[label])
EOS
result 'each candidate has its line in the trace'

run 0 "$calibrate" --trace "$trace" --device a100-sxm-80g --simulate a100-sxm-80g
expect '^# SIMULATED times' out
forbid '^[a-z]' out
result 'SIMULATED: nothing moves where nothing was changed'

# A GPU that does not exist: the times of an altered software device, as if they had been measured.
sed 's/^warp_interval_clocks: 2.5/warp_interval_clocks: 4.0/; s/^graph_node_us: 0.31/graph_node_us: 2.0/' \
    "$MIXTUNE_CONFIGS/devices/a100-sxm-80g.yaml" >"$TMPDIR/altered.yaml"
run 0 sweep "soft:$TMPDIR/altered.yaml" "$TMPDIR/altered.db"
sqlite3 "$TMPDIR/altered.db" "UPDATE device SET software = 0, name = 'Pretended GPU'; UPDATE measurement SET origin = 'measured'"
run 1 "$calibrate" --quiet --trace "$trace" --device a100-sxm-80g --db "$db"
expect 'only 0 measured candidates' err
result 'modelled times are not fitted to'

run 0 "$calibrate" --quiet --trace "$trace" --device a100-sxm-80g --db "$TMPDIR/altered.db"
expect '^warp_interval_clocks: (3\.[89]|4(\.0[0-9]*)?) # was 2\.5' out
expect '^graph_node_us: (1\.9[0-9]*|2(\.0[0-9]*)?) # was 0\.31' out
expect '^# sm80 .* rho [01]\.[0-9]+ -> (0\.9|1\.0)' out
forbid 'SIMULATED' out
result 'SIMULATED: altered constants are found through the database'

run 64 "$calibrate" --trace "$trace"
expect 'device' err
result 'what is missing is named'
echo '{"label": 3}' >"$TMPDIR/bad"
run 1 "$calibrate" --trace "$TMPDIR/bad" --device a100-sxm-80g --simulate a100-sxm-80g
expect 'not of a trace' err
result 'a file that is no trace'

finish
