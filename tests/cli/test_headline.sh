#!/bin/bash
# What a headline on a software device is measured against: the fp16 kernel of ours must be as strong as its bytes allow, for what it leaves
# lying about would count as a speed-up of the quantised kernels. And everything that shows a headline says what it is.
# shellcheck disable=SC2054 # commas inside values
set -u
. tests/cli/cases.sh
db=$TMPDIR/db
number() { sqlite3 "$db" "$1"; }
# true EXPRESSION: of numbers, as awk has it.
true_of() { awk "BEGIN { exit !($1) }" || verdict+=" not so: $1; "; }
device() { awk -v key="$1:" '$1 == key { print $2 }' configs/devices/a100-sxm-80g.yaml; }

run 0 "$MIXTUNE" sweep --quick --quiet --device soft:a100-sxm-80g --db "$db" --scheme w4a8 --shape 129,1024,8192 --shape 1,28672,4096 \
    --shape 16,4096,14336 --shape 8,6144,4096
expect '^MODELLED: .*cold caches' out
expect 'cache_state cold' out
expect 'ratio_with_quantize +floor_share_with_quantize +ratio ' out
result 'a table says that times are modelled, what lay in the caches, and with what'

rate=$(awk "BEGIN { print $(device memory_gbs) * $(device memory_efficiency) }") # bytes a nanosecond
while IFS='|' read -r m n k ns config; do
    least=$(awk "BEGIN { print 2 * ($n * $k + $m * $k + $m * $n) / $rate }")
    true_of "$ns < 3 * $least && $ns > $least"
    [ "$m" != 129 ] || [[ $config =~ split_k=([2-9]|1[0-9]) ]] || verdict+=" $config does not share tiles along K; "
done < <(number "SELECT m, n, k, median_ns, config FROM baseline ORDER BY m")
[ "$(number "SELECT count(*) FROM baseline WHERE family = 'f16'")" = 4 ] || verdict+=" not four baselines; "
result 'the fp16 kernel takes at most three times as long as its bytes'

# 16 bits over 4 bits with their scales and zero points: fewer bytes allow no more.
true_of "$(number "SELECT max(ratio) FROM headline WHERE m <= 16") < 16 / 4.19"
true_of "$(number "SELECT min(ratio_with_quantize / ratio) FROM headline") > 0.5"
true_of "$(number "SELECT max(ratio_with_quantize / ratio) FROM headline") < 1"
result 'no decode is faster than its bits allow'

run 0 "$MIXTUNE" probe --quiet --device soft:a100-sxm-80g --db "$db"
run 0 "$MIXTUNE" show --db "$db" --m 1
expect ' [0-9.]+x +[0-9]+% +[0-9.]+x +[0-9]+% ' out
true_of "$(number "SELECT min(floor_share_with_quantize / floor_share) FROM headline") > 0.5"
true_of "$(number "SELECT max(floor_share) FROM headline") < 1"
result 'each figure stands beside its share of the floor'

run 0 "$MIXTUNE" report --quiet --db "$db" --out "$TMPDIR/report"
page=$TMPDIR/report/index.html
cp "$page" "$TMPDIR/page"
forbid 'cuBLAS(Lt)?' page
expect 'the headline' page
for picture in "$TMPDIR"/report/*-speedup.svg; do
    for words in 'quantising counted' 'the kernel alone, without quantising' 'share of the floor' 'over the fp16 baseline (f16)' 'cold cache'; do
        grep -qF "$words" "$picture" || verdict+=" no '$words' in the picture; "
    done
done
grep -qF 'without quantising' "$TMPDIR"/report/*-time.svg || verdict+=' the times do not say what they hold; '
result 'page and pictures say the state, the baseline, and whether quantising is counted'

finish
