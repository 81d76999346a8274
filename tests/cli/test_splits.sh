#!/bin/bash
# From a sweep of a few splits of a layer to a bundle that serves every split: which times and kernels go in, and that what comes out
# computes right.
# shellcheck source=tests/cli/cases.sh
set -u
. tests/cli/cases.sh
export MIXTUNE_DEVICE=soft:a100-sxm-80g
db=$TMPDIR/db

cat >"$TMPDIR/small.yaml" <<'YAML'
family: sm80
values:
  tile_n: [32, 64]
  tile_m: [16]
  warps_n: [2]
  stages: [3]
YAML
run 0 "$MIXTUNE" sweep -q --quick --space "$TMPDIR/small.yaml" --db "$db" --shape 200,300 --m 1,16 --scheme w4a8,p10,p30,p60,w4a8-sym,w8a8
# Whatever the time model says: the narrow tile is by far the fastest below 30 %, the wide one from there on.
sqlite3 "$db" "UPDATE measurement SET low_ns = ns, median_ns = ns, high_ns = ns
    FROM (SELECT x.id AS of, iif(value IN (32, 64), 1000 + x.m + x.rows8 * 10 + 500 * ((x.rows8 < 60) = (value = 64)), 1e6) AS ns
          FROM measurement AS x JOIN knob ON knob.config = x.config AND name = 'tile_n' JOIN config ON config.id = x.config
          WHERE family = 'sm80' AND outcome = 'ok') WHERE id = of"
run 0 "$MIXTUNE" export -q --db "$db" --out "$TMPDIR/bundle"
result 'splits are swept and exported'

b() { sqlite3 "$TMPDIR/bundle" "$1"; }
# rows8 m tile time: of each split the loser of its neighbour's choice, and nothing of splits further away.
# All in 8 bits is beside 60 % and beside all in 4 without zero points.
b "SELECT rows8, scheme, m, substr(config, 1, 9), expected_ns FROM time JOIN layer ON layer.id = layer ORDER BY 1, 2, 3, 4" >"$TMPDIR/got"
cat >"$TMPDIR/want" <<'TEXT'
0|w4a8-sym|1|tile_n=64|1501.0
0|w4a8-sym|16|tile_n=64|1516.0
20|mixed|1|tile_n=64|1701.0
20|mixed|16|tile_n=64|1716.0
60|mixed|1|tile_n=32|2101.0
60|mixed|16|tile_n=32|2116.0
200|w8a8|1|tile_n=32|3501.0
200|w8a8|16|tile_n=32|3516.0
TEXT
diff "$TMPDIR/want" "$TMPDIR/got" >"$TMPDIR/err" || verdict='other times than those of the neighbours'
[ "$(b "SELECT count(DISTINCT e.config || e.layer || e.m) FROM entry AS e JOIN time AS t USING (layer, m, family, config)")" = 0 ] ||
    verdict+=' a time is that of the winner'
result "beside each winner stand the times of its neighbours' winners"

# What all in 4 bits or in 8 won with also runs mixed, with zero points and without, as its neighbours have them; no more is needed.
b "SELECT substr(config, 1, 9), scheme FROM variant ORDER BY 1, 2" >"$TMPDIR/got"
printf 'tile_n=%s\n' '32|mixed' '32|mixed-sym' '64|mixed' '64|mixed-sym' >"$TMPDIR/want"
diff "$TMPDIR/want" "$TMPDIR/got" >"$TMPDIR/err" || verdict='other images than those that are needed'
[ "$(b "SELECT group_concat(scheme) FROM (SELECT DISTINCT scheme FROM fallback WHERE family = 'sm80' ORDER BY 1)")" = mixed,mixed-sym,w4a8,w4a8-sym,w8a8 ] ||
    verdict+=' not a default kernel for each choice of formats'
[ "$(b "SELECT layout FROM fingerprint")" = 1 ] || verdict+=' no layout'
result 'winners have images for the formats between and beyond the splits'

for rows8 in 0 1 20 39 41 100 121 199 200; do
    run 0 "$BUILD/example/dispatch" "$TMPDIR/bundle" 200x300 17 $rows8
    expect 'good$' out
done
result 'every split is served'

# With the outermost splits alone, all in 8 bits and all in 4 run the kernels of mixed ones.
run 0 "$MIXTUNE" export -q --db "$db" --out "$TMPDIR/bundle" --scheme mixed
[ "$(b "SELECT group_concat(substr(config, 8, 2) || scheme) FROM (SELECT * FROM variant ORDER BY config)")" = 32w4a8,64w8a8 ] ||
    verdict+=' not the images of the outermost splits'
for rows8 in 0 200; do
    run 0 "$BUILD/example/dispatch" "$TMPDIR/bundle" 200x300 17 $rows8
    expect 'good$' out
done
run 1 "$BUILD/example/dispatch" "$TMPDIR/bundle" 200x300 17 201
expect '201 of 200 output features' err
result 'so are those beyond what was tuned'

finish
