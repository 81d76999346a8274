#!/bin/bash
# What looking up between tuned M costs: beside tests/cli/regret_m.py, which works it out without the library.
# shellcheck source=tests/cli/cases.sh
set -u
. tests/cli/cases.sh
export MIXTUNE_DEVICE=soft:a100-sxm-80g
db=$TMPDIR/db

cat >"$TMPDIR/small.yaml" <<'YAML'
family: sm80
values:
  tile_n: [32, 128]
  tile_m: [8, 16, 32, 64]
  stages: [3]
  warps_n: [2]
YAML
run 0 "$MIXTUNE" sweep -q --quick --space "$TMPDIR/small.yaml" --db "$db" --shape 3000,256 --m 1,8,9,16,24,32,64,80,200
# Times that no two kernels share at one M, and that change with it.
sqlite3 "$db" "CREATE TEMP TABLE f AS SELECT x.id, 3000 * (1 + x.m / 40.0) * pow(1.015, (abs(x.config) % 9973 + 41 * x.m) % 61) AS ns FROM measurement AS x;
    UPDATE measurement SET (median_ns, low_ns, high_ns) = (SELECT ns, ns, ns FROM f WHERE f.id = measurement.id) WHERE median_ns > 0" ||
    verdict+=' the database was not changed; '

figures() { # FILE NOISE
    python3 - "$1" "$2" <<'PYTHON' || verdict+=' no JSON; '
import json, sys
for line in open(sys.argv[1]):
    r = json.loads(line)
    if r["section"] == "m" and r["layer"] == "all" and r["noise_percent"] == int(sys.argv[2]):
        print(r["tuned"], r["asked"], *(f"{r[name]:.2f}" for name in ("mean_percent", "p95_percent", "worst_percent")), r["unknown"])
PYTHON
}
for keep in 1,16,64,200 8,24,80 1,9,32,80; do
    run 0 "$MIXTUNE" show --regret=m --db "$db" --keep "$keep" --json
    want=$(python3 tests/cli/regret_m.py "$db" 3000 108 "$keep") || verdict+=' no figures; '
    [ "$(figures "$TMPDIR/out" 0)" = "$want" ] || verdict+=" $keep: $(figures "$TMPDIR/out" 0), not $want; "
    [[ $want != *" 0.00 "* ]] || verdict+=" $keep costs nothing; "
    figures "$TMPDIR/out" 5 >>"$TMPDIR/noisy"
done
result 'what it costs to look up between tuned M is what is worked out by hand'

run 0 "$MIXTUNE" show --regret=m --db "$db" --keep 1,9,32,80 --json
[ "$(figures "$TMPDIR/out" 5)" = "$(tail -n 1 "$TMPDIR/noisy")" ] || verdict+=' noise is not the same again; '
[ "$(figures "$TMPDIR/out" 5)" != "$(figures "$TMPDIR/out" 0)" ] || verdict+=' noise changes nothing; '
result 'noise is seeded'

sqlite3 "$db" "DELETE FROM measurement WHERE m IN (9, 24, 200)"
run 0 "$MIXTUNE" show --regret=m --db "$db" --json
want=$(python3 tests/cli/regret_m.py "$db" 3000 108 leave)
[ "$(figures "$TMPDIR/out" 0)" = "$want" ] || verdict+=" $(figures "$TMPDIR/out" 0), not $want; "
run 0 "$MIXTUNE" show --regret --db "$db"
expect '^M: what it costs' out
expect MODELLED out
result 'where there are no other M each is left out in turn'

sentence 64 '--regret: |is neither m nor splits' "$MIXTUNE" show --regret=n --db "$db"
sentence 64 '--keep belongs to --regret' "$MIXTUNE" show --keep 1,2 --db "$db"
sentence 1 'no layers with M of --keep and with others' "$MIXTUNE" show --regret=m --keep 5,7 --db "$db"
sentence 64 '--keep|0' "$MIXTUNE" show --regret=m --keep 0 --db "$db"
no_results
result 'bad options are a sentence'
finish
