#!/bin/bash
# Kernels of one order of addition: what `sweep --batch-invariant` times, what `export` chooses of it, and what both say.
set -u
. tests/cli/cases.sh
export MIXTUNE_DEVICE=soft:a100-sxm-80g
db=$TMPDIR/s.db bundle=$TMPDIR/b.mixtune
ask() { sqlite3 "$1" "$2" | xargs; }
# A space without split-K, and one that has it for few tokens alone.
printf 'family: sm80\nvalues:\n  tile_m: [64]\n  stages: [3]\n' >"$TMPDIR/many.yaml"
printf 'family: sm80\nvalues:\n  tile_n: [64]\n  tile_m: [8]\n  warps_n: [2]\n  split_k: [3]\n' >"$TMPDIR/few.yaml"
few=(sweep --shape "64,512" --m 1 --scheme w4a8 --space "$TMPDIR/few.yaml" --db "$db")
many=(sweep --shape "64,512" --m 80 --scheme w4a8 --space "$TMPDIR/many.yaml" --db "$db")

run 0 "$MIXTUNE" "${few[@]}" -q
run 0 "$MIXTUNE" "${many[@]}" -q
run 0 "$MIXTUNE" export -q --db "$db" --out "$bundle"
# The default configuration is in every sweep, so K was added up in order everywhere.
expect 'w4a8: [0-9.]+ on average, [0-9.]+ at worst \(M (1|80)\); K is added up in order$' out
[ "$(ask "$bundle" "SELECT count(*), sum(kind = 'invariant'), sum(config LIKE '%split_k=1,%' AND kind = 'invariant') FROM entry WHERE kind <> 'fp16'")" = "4|2|2" ] || verdict+=" entries $(ask "$bundle" "SELECT m, kind, config FROM entry"); "
result "an order that was timed at each M goes into the bundle"

sqlite3 "$db" "DELETE FROM measurement WHERE config IN (SELECT id FROM config WHERE config LIKE '%split_k=1,%') AND m = 1" 2>"$TMPDIR/err" || verdict+=" $(cat "$TMPDIR/err"); "
run 0 "$MIXTUNE" export -q --db "$db" --out "$bundle" --json
expect '"sums":"not timed"' out
[ "$(ask "$bundle" "SELECT count(*) FROM entry WHERE kind = 'invariant'")" = 0 ] || verdict+=" it has some; "
run 0 "$MIXTUNE" export -q --db "$db" --out "$bundle"
expect '1 of 1 layers have no order of addition that was timed at each of their M' out
expect 'sweep --batch-invariant' out
result "without one export says how to get it"

run 0 "$MIXTUNE" sweep --shape "64,512" --m 1,80 --scheme w4a8 --space "$TMPDIR/many.yaml" --db "$db" -q --batch-invariant
for m in 1 80; do # in order, in 2, 3 and 4 parts at each
    [ "$(ask "$db" "SELECT DISTINCT split_k FROM current WHERE m = $m AND NOT is_baseline ORDER BY 1")" = "1 2 3 4" ] ||
        verdict+=" at M $m split_k is $(ask "$db" "SELECT DISTINCT split_k FROM current WHERE m = $m AND NOT is_baseline"); "
done
run 0 "$MIXTUNE" export -q --db "$db" --out "$bundle"
[ "$(ask "$bundle" "SELECT count(*) FROM entry WHERE kind = 'invariant'")" = 2 ] || verdict+=" not 4 entries; "
forbid 'no order of addition' out
result "sweep --batch-invariant times each order at each M"
finish
