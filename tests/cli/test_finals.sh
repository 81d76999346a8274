#!/bin/bash
# The finals of a sweep: the best of each problem, the default and the baselines once more, in turns.
# shellcheck disable=SC2054 # commas inside values
set -u
export MIXTUNE_LOG=info
. tests/cli/cases.sh
db=$TMPDIR/db

sql() { sqlite3 "$db" "$1"; }
want() { # what, query
    local got
    got=$(sql "$2" | tr '\n' ' ')
    [ "$got" = "$1 " ] || verdict="$verdict '$got' and not '$1'; "
}

# Twelve configurations and the default: two of them do not reach the finals.
cat >"$TMPDIR/space.yaml" <<'YAML'
family: sm80
values:
  tile_n: [64]
  tile_m: [8, 16, 32]
  stages: [3, 4]
  split_k: [1, 2]
YAML
sweep() { # further options
    run 0 "$MIXTUNE" sweep --device soft:a100-sxm-80g --quick --space "$TMPDIR/space.yaml" --db "$db" --shape 200,1500 \
        --m 17 --json "$@"
}
finals='FROM measurement JOIN run ON run.id = measurement.run WHERE command LIKE '\''finals of %'\'

sweep
cp "$TMPDIR/out" "$TMPDIR/winners"
want $((13 + 40 + 1)) 'SELECT count(*) FROM measurement'
result 'a software device has no finals unless asked'

sweep --finals 21
want '12|21|21' "SELECT count(*), min(length(samples) / 8), max(length(samples) / 8) $finals"
[ "$(sql "SELECT count(*) $finals AND scheme = 'w4a8' AND measurement.config IN
    (SELECT config FROM knob WHERE name = 'tile_n' AND value = 128)")" = 1 ] || verdict="$verdict the default does not play; "
[ "$(sql "SELECT count(*) $finals AND scheme = 'fp16'")" = 1 ] || verdict="$verdict the baseline does not play; "
[ "$(sql "SELECT count(*) FROM (SELECT median_ns, row_number() OVER (ORDER BY median_ns) AS place, config FROM measurement
    JOIN run ON run.id = run WHERE command NOT LIKE 'finals%' AND scheme = 'w4a8') AS x
    WHERE place <= 10 AND config NOT IN (SELECT measurement.config $finals)")" = 0 ] || verdict="$verdict one of the best does not play; "
grep -q 'finals: 200x1500 m=17 w4a8: [0-9.]* times .* as fast as f16 with tile_n=' "$TMPDIR/err" || verdict="$verdict it does not say how they end; "
diff <(grep -o '"config":"[^"]*"' "$TMPDIR/winners") <(grep -o '"config":"[^"]*"' "$TMPDIR/out") >/dev/null ||
    verdict="$verdict another winner; "
result 'the ten best, the default and the best baseline play, in rounds'

before=$(sql 'SELECT count(*) FROM measurement')
sweep --finals 21
[ "$(sql 'SELECT count(*) FROM measurement')" = "$before" ] || verdict="$verdict they play again; "
result 'finals are not played twice'

sweep --finals 21 --shape 64,1500 --m 17
[ "$(sql "SELECT count(*) $finals")" -gt 12 ] || verdict="$verdict the new problem has no finals; "
[ "$(sql "SELECT count(*) FROM measurement JOIN run ON run.id = run JOIN layer ON layer.id = measurement.layer
    WHERE command LIKE 'finals of %' AND n = 200")" = 12 ] || verdict="$verdict the old problem plays again; "
result 'a new problem has its own'

finish
