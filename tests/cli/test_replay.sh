#!/bin/bash
# Searches as people use them: a sweep that measures a part, and the same searches played against an exhaustive one.
# shellcheck disable=SC2054,SC2317 # commas inside values, functions called by name
set -u
export MIXTUNE_LOG=info
. tests/cli/cases.sh
db=$TMPDIR/db

# Few binaries, many launches: 2 tiles, 6 ways to split K.
cat >"$TMPDIR/small.yaml" <<'YAML'
family: sm80
values:
  tile_n: [64]
  tile_m: [8, 16]
  stages: [3]
  split_k: [1, 2, 3, 4, 6, 8]
YAML
sweep() { # database, further options
    local base=$1
    shift
    "$MIXTUNE" sweep --device soft:a100-sxm-80g --quick --space "$TMPDIR/small.yaml" --db "$base" "$@"
}
work=(--shape 200,1100 --m 9,17 --scheme w4a8)

run 0 sweep "$db" "${work[@]}"
result 'an exhaustive sweep to play against'

run 0 "$MIXTUNE" replay --db "$db" --share 100
[ "$(grep -cE '200x1100 +(9|17) +w4a8 +0 +13 +(exhaustive|random|guided) .* 0\.0%$' "$TMPDIR/out")" = 6 ] ||
    verdict="$verdict not six lines that end at the best; "
[ "$(grep -cE ' all +(exhaustive|random|guided) ' "$TMPDIR/out")" = 3 ] || verdict="$verdict not three lines of totals; "
result 'with all measurements every strategy finds the best'

run 0 "$MIXTUNE" replay --db "$db" --share 40 --seeds 3 --json
cp "$TMPDIR/out" "$TMPDIR/first"
[ "$(wc -l <"$TMPDIR/out")" = 9 ] || verdict="$verdict not nine lines; "
expect '"strategy":"random","runs":3,"within_1_percent":[0-3],"measurements":5.0' out
expect '"origin":"modelled"' out
run 0 "$MIXTUNE" replay --db "$db" --share 40 --seeds 3 --json
cmp -s "$TMPDIR/out" "$TMPDIR/first" || verdict="$verdict other results; "
result 'the same seeds play the same'

run 0 "$MIXTUNE" replay --db "$db" --strategy guided --m 17 --seeds 2 --share 50
expect '^1 problems, 2 seeds, at most 50 %' out
[ "$(grep -c guided "$TMPDIR/out")" = 2 ] || verdict="$verdict not two lines; "
result 'a part of the database, one strategy'

if command -v gnuplot >/dev/null; then
    run 0 "$MIXTUNE" replay --db "$db" --share 50 --out "$TMPDIR/report"
    grep -q '</svg>' "$TMPDIR/report/replay.svg" || verdict="$verdict no picture; "
    [ "$(grep -c '^random,' "$TMPDIR/report/data/replay.csv")" = 200 ] || verdict="$verdict not 200 points; "
    result 'the curve as CSV and picture'
else
    skip 'the curve' 'gnuplot is not installed'
fi

run 1 "$MIXTUNE" replay --db "$db" --layer nowhere
expect 'no good measurement' err
result 'nothing to play against is a sentence'
run 64 "$MIXTUNE" replay --db "$db" --strategy bayes
expect 'exhaustive, random, guided or sample' err
result 'an unknown strategy is a sentence'
run 64 sweep "$TMPDIR/none" "${work[@]}" --patience infinite
expect 'quick, normal or exhaustive' err
result 'an unknown patience is a sentence'

# Eight of the 13 configurations for each M, and the two baselines of each.
for strategy in random guided; do
    run 0 sweep "$TMPDIR/$strategy" "${work[@]}" --strategy $strategy --max-configs 8
    measured=$("$MIXTUNE" show --db "$TMPDIR/$strategy" --all --format csv 2>/dev/null | grep -c ',sm80,')
    [ "$measured" -ge 16 ] && [ "$measured" -lt 26 ] || verdict="$verdict $measured configurations were measured; "
    [ "$(grep -cE '200x1100 +200 +1100 +(9|17) +w4a8' "$TMPDIR/out")" = 2 ] || verdict="$verdict not two winners; "
    result "a $strategy search measures a part and has winners"

    run 0 sweep "$TMPDIR/$strategy" "${work[@]}" --strategy $strategy --max-configs 8
    expect ' 0 candidates to measure' err
    again=$("$MIXTUNE" show --db "$TMPDIR/$strategy" --all --format csv 2>/dev/null | grep -c ',sm80,')
    [ "$again" = "$measured" ] || verdict="$verdict $((again - measured)) more were measured; "
    result "a $strategy search that is done measures nothing more"
done

finish
