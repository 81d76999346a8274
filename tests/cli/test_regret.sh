#!/bin/bash
# A sweep of a few splits that stand for all of a layer, and what that would have cost: beside tests/cli/regret.py, which works it out anew.
# shellcheck disable=SC2054,SC2317 # commas inside values, functions called by name
set -u
export MIXTUNE_LOG=info
. tests/cli/cases.sh
db=$TMPDIR/db

cat >"$TMPDIR/small.yaml" <<'YAML'
family: sm80
values:
  tile_n: [64]
  tile_m: [8, 16]
  stages: [3]
  split_k: [1, 2, 4]
YAML
cat >"$TMPDIR/splits.csv" <<'CSV'
# ten layers' splits of two shapes
layer,rows8,weight
400x300,0
400x300,15
400x300,20,3
400x300,40,2
400x300,90
400x300,100
400x300,200,0.5
400x300,210
400x300,330
400x300,400,1.5
200x300,7 # all that there is
CSV
sweep() { # database, further options
    local base=$1
    shift
    "$MIXTUNE" sweep --device soft:a100-sxm-80g --quick --space "$TMPDIR/small.yaml" --m 1,16 --shape 400,300 --shape 200,300 \
        --splits "$TMPDIR/splits.csv" --db "$base" "$@"
}
numbers() { # database, layer: the splits that were measured, as "0 16 90"
    sqlite3 "$1" "SELECT group_concat(rows8, ' ') FROM (SELECT DISTINCT rows8 FROM fact WHERE layer = '$2' AND NOT is_baseline ORDER BY rows8)"
}

run 0 sweep "$TMPDIR/few" --points 4
expect '^.*400x300: 4 of 10 splits are tuned, for all 13 layers that the table counts; rows8 0 \(stands for 1\), 40 \(stands for 8\), 210 \(stands for 2\.5\), 400 \(stands for 1\.5\)$' err
expect '^.*200x300: 1 of 1 splits are tuned' err
[ "$(numbers "$TMPDIR/few" 400x300)/$(numbers "$TMPDIR/few" 200x300)" = '0 40 210 400/7' ] ||
    verdict+=" measured $(numbers "$TMPDIR/few" 400x300)/$(numbers "$TMPDIR/few" 200x300); "
[ "$(grep -cE '^400x300 .* mixed +(40|210) ' "$TMPDIR/out")" = 4 ] ||
    verdict+=" not four winners of mixed splits; "
result 'four splits of ten are tuned, and the sweep says for whom'

# A search measures other configurations at every split: each winner has a time at the neighbouring mixed ones all the same.
run 0 sweep "$TMPDIR/search" --points 8 --strategy sample --max-configs 2
expect '^[1-9][0-9]* winners were measured at the M and splits beside them too' err
sqlite3 "$TMPDIR/search" "WITH place AS (SELECT *, row_number() OVER (PARTITION BY m ORDER BY rows8) AS number FROM winner WHERE layer = '400x300' AND scheme = 'mixed')
    SELECT a.rows8, a.m, b.rows8, EXISTS (SELECT 1 FROM current AS c WHERE c.layer_id = a.layer_id AND c.scheme = 'mixed' AND c.rows8 = b.rows8 AND c.m = a.m
        AND c.config_id = a.config_id AND c.outcome = 'ok')
    FROM place AS a JOIN place AS b ON b.m = a.m AND abs(a.number - b.number) = 1" >"$TMPDIR/crosses"
[ "$(wc -l <"$TMPDIR/crosses")" = 20 ] || verdict+=" $(wc -l <"$TMPDIR/crosses") pairs of neighbours, not 2 x 2 x 5; "
! grep -q '|0$' "$TMPDIR/crosses" || verdict+=" winners without a time at a neighbour: $(grep -v '|1$' "$TMPDIR/crosses" | tr '\n' ' '); "
result 'winners of a search are timed at their neighbours'

run 0 sweep "$db" --points 10 --fill 16
[ "$(numbers "$db" 400x300)" = '0 16 32 48 96 112 208 224 336 400' ] || verdict+=" measured $(numbers "$db" 400x300); "
expect 'rows8 0 \(stands for 1\), 16 \(stands for 1\), 32 \(stands for 3\)' err
run 0 sweep "$db" --points 10
[ "$(numbers "$db" 400x300)" = '0 15 16 20 32 40 48 90 96 100 112 200 208 210 224 330 336 400' ] ||
    verdict+=" measured $(numbers "$db" 400x300); "
result 'all of them, filled up and as they are'

# One configuration is the best everywhere in so small a layer: these times differ from split to split. Some of the losers have none.
sqlite3 "$db" 'CREATE TEMP TABLE f AS SELECT id, 3000.0 + (config % 1009 + 1009 + rows8 * 337 + m * 131) % 1009 AS ns FROM measurement;
    UPDATE measurement SET (median_ns, low_ns, high_ns) = (SELECT ns, ns, ns FROM f WHERE f.id = measurement.id) WHERE median_ns > 0;
    DELETE FROM measurement WHERE rows8 IN (40, 90) AND median_ns >
        (SELECT min(median_ns) FROM measurement AS x WHERE (x.layer, x.rows8, x.m) = (measurement.layer, measurement.rows8, measurement.m))' ||
    verdict+=" the database was not changed; "
for most in 2 3 4 6 8; do
    python3 tests/cli/regret.py "$db" "$TMPDIR/splits.csv" 400x300 400 300 $most >>"$TMPDIR/want" || verdict+=" no figures; "
done
run 0 "$MIXTUNE" show --regret --splits "$TMPDIR/splits.csv" --db "$db" --layer 400x300 --json
python3 - "$TMPDIR/out" <<'PYTHON' >"$TMPDIR/got" || verdict+=" no JSON; "
import json, sys
for line in open(sys.argv[1]):
    r = json.loads(line)
    if r["section"] == "points":
        print(r["splits"], r["points"], f'{r["mean_percent"]:.2f} {r["p95_percent"]:.2f} {r["worst_percent"]:.2f}', r["unknown"])
PYTHON
diff "$TMPDIR/want" "$TMPDIR/got" >"$TMPDIR/differ" || verdict+=" not as regret.py says: $(cat "$TMPDIR/differ"); "
[ "$(cut -d ' ' -f 3 "$TMPDIR/got" | sort -u | wc -l)" -ge 3 ] || verdict+=" figures that do not differ; "
[ "$(cut -d ' ' -f 6 "$TMPDIR/got" | sort -u | wc -l)" -ge 2 ] || verdict+=" nothing is unknown; "
expect '"section":"splits".*"layer":"400x300","most":6,"splits":10,"points":6,' out
expect '"untuned":0' out
expect 'layer 200x300 nothing was tuned that these options ask for' err
result 'what it would have cost is what is worked out by hand'

run 0 "$MIXTUNE" show --regret --db "$db" --layer 400x300
expect '^400x300 +18 +6 ' out
expect '^all +18 +6 ' out
expect '^ +4 +18 +4 ' out
expect MODELLED out
result 'without a table all splits count'

run 0 "$MIXTUNE" show --regret --splits "$TMPDIR/splits.csv" --db "$TMPDIR/few"
expect '^layer .* untuned$' out
expect '^400x300 +10 +4 +0.0 +0.0 +0.0 +- +12$' out
result 'splits that were not tuned are counted'

printf "400x300,3\n400x300,401\n" >"$TMPDIR/bad.csv"
sentence 64 "$TMPDIR/bad.csv|line 2|401 features of 400x300 cannot keep 8 bits where there are 400" \
    sweep "$TMPDIR/none" --splits "$TMPDIR/bad.csv"
[ ! -e "$TMPDIR/none" ] || verdict+=" a database was made; "
sentence 64 "--splits belongs to --regret" "$MIXTUNE" show --splits "$TMPDIR/splits.csv" --db "$db"
no_results
result "bad tables are a sentence"
finish
