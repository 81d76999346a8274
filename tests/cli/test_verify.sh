#!/bin/bash
# Every way of computing the same numbers is right on odd shapes, and without split-K all agree bit for bit, from family to family.
# shellcheck disable=SC2054 # commas inside values
set -u
. tests/cli/cases.sh

# right NAME AT_LEAST ARGUMENTS...: all verdicts are right, at least so many of them.
right() {
    local name=$1 least=$2 count
    shift 2
    run 0 "$MIXTUNE" verify --quiet "$@"
    count=$(grep -c '^right' "$TMPDIR/out")
    [ "$count" -ge "$least" ] || verdict="$verdict $count right, at least $least expected; "
    expect '^[0-9]* right, 0 wrong' out
    [[ $least -lt 10 || $name = *baseline* ]] || expect "add up in order compared bit for bit" out
    [ -z "$verdict" ] || verdict="$verdict$(grep -v '^right' "$TMPDIR/out" | head -n 20)"
    result "$name: $count right"
}

soft=(--device soft:a100-sxm-80g)
# tests/unit/plan/test_proofs.c knows these shapes but for the first: each has several tiles along M and N, and several K steps.
tokens=(--shape 1,100,129)
shapes=(--shape 33,257,1800 --shape 140,136,900 --shape 390,136,140)
for group in 64 128 256; do
    type=fp16
    [ $group != 64 ] || type=bf16
    right "groups of $group in $type, every promotion, zero point, order and split" $((group < 256 ? 289 : 98)) "${soft[@]}" --all --space proof-sm80 \
        "${tokens[@]}" "${shapes[@]}" --group $group --scheme w4a8,w8a8 --dtype $type --bias
done
right "symmetric weights, every promotion, order and split" 60 "${soft[@]}" --all --space proof-sm80 "${shapes[@]}" --scheme w4a8-sym --bias
right "every way to share the tiles of a mixed layer, with every arithmetic" 54 "${soft[@]}" --all --space proof-sm80-tiles --shape 33,257,300 --scheme p20
right "none, one, and a few features in 8 bits, the others symmetric" 60 "${soft[@]}" --all --space proof-sm80-tiles --shape 33,257,300 \
    --scheme w4a8-sym --rows8 0,1,17
right "the fp16 baseline, every pair of knobs, in parts along K too" 80 "${soft[@]}" --all --space proof-f16 --shape 33,257,129 --shape 140,136,1000 --shape 390,136,140
right "the fp16 baseline in bf16, at ragged edges" 18 "${soft[@]}" --all --space proof-f16 --shape 33,257,129 --dtype bf16 --bias
right "tall and wide, as a model has it" 2 "${soft[@]}" --shape 17,4096,4096 --scheme w4a8

run 0 env MIXTUNE_CACHE_DIR="$TMPDIR/cache" "$MIXTUNE" verify --quiet --device soft:h100-sxm --compile-only --shape 33,257,300 --scheme w4a8,p50
expect '^5 kernels compiled, 0 failed$' out
forbid 'right' out
[ "$(find "$TMPDIR/cache/kernels" -type f | wc -l)" = 5 ] || verdict="$verdict not five kernels in the cache; "
result "--compile-only fills the cache and runs nothing"

# ---- which families ----

h100=(--device soft:h100-sxm)
of_family() { grep -cE "^right +$1 " "$TMPDIR/out"; }

run 0 "$MIXTUNE" verify --quiet "${h100[@]}" --shape 33,257,300 --scheme w4a8,p50 --dtype bf16
[ "$(of_family sm80) $(of_family sm90) $(of_family quantize)" = "2 2 2" ] || verdict="$verdict not two lines of each; "
[ "$(grep -c '^2 configurations that add up in order compared bit for bit' "$TMPDIR/out")" = 2 ] || verdict="$verdict bits were not compared across families; "
result "without a name every quantised family of the device is verified, to the same bits"

run 0 "$MIXTUNE" verify --quiet "${soft[@]}" --shape 33,257,300
[ "$(of_family sm80) $(of_family sm90)" = "1 0" ] || verdict="$verdict not sm80 alone; "
result "a device without wgmma has one"

run 0 "$MIXTUNE" verify --quiet "${h100[@]}" --shape 33,257,300 --config stages=3
expect '^right +sm80 .*,stages=3,' out
[ "$(of_family sm80) $(of_family sm90)" = "1 0" ] || verdict="$verdict not sm80 alone; "
result "a configuration without a family is sm80's"

# Spaces of the families' own names, but small ones.
mkdir -p "$TMPDIR/configs/spaces"
printf 'family: sm80\nvalues:\n  tile_n: [64]\n  tile_m: [16, 32]\n  stages: [3]\n' >"$TMPDIR/configs/spaces/sm80.yaml"
printf 'family: sm90\nvalues:\n  tile_m: [24, 32]\n  stages: [3]\n' >"$TMPDIR/configs/spaces/sm90.yaml"
run 0 env MIXTUNE_CONFIGS="$TMPDIR/configs" "$MIXTUNE" verify --quiet "${h100[@]}" --shape 33,257,300 --all
[ "$(of_family sm80) $(of_family sm90)" = "3 3" ] || verdict="$verdict not the defaults and both spaces; "
expect '^6 configurations that add up in order compared bit for bit' out
result "--all is the spaces of all of them"

# sm90 rounds once more at each group: within the allowed error, so that only the comparison of bits with sm80's sees it.
mkdir "$TMPDIR/other"
cp -R templates/tile "$TMPDIR/other"
{ echo '#define ROUND_TWICE' && cat templates/gemm_sm90.cu; } >"$TMPDIR/other/gemm_sm90.cu"
awk '/return __fmaf_rn\(t, sx, acc\);/ { print "#ifdef ROUND_TWICE\nreturn __fadd_rn(__fmul_rn(t, sx), acc);\n#endif" } { print }' \
    templates/tile/promote.cuh >"$TMPDIR/other/tile/promote.cuh"
run 2 env MIXTUNE_TEMPLATES="$TMPDIR/other" "$MIXTUNE" verify --quiet "${h100[@]}" --shape 33,257,300
[ "$(of_family sm80)" = 1 ] || verdict="$verdict sm80 is not right; "
expect '^wrong +sm90 .*its bits differ from those of the first configuration that also adds up in order' out
result "another family's bits must be the same"

# ---- the helper kernel that a sweep times ----

# Sums that are wrong where proofs of a few tokens or of a few CTAs do not come: for the later tokens, and for the later features.
mkdir "$TMPDIR/sums"
sed 's/int sum = 0;/int sum = token > 40 || blockIdx.x > 2;/' templates/quantize_act.cu >"$TMPDIR/sums/quantize_act.cu"
MIXTUNE_TEMPLATES="$TMPDIR/sums" run 0 "$MIXTUNE" sweep --quick --quiet "${soft[@]}" --space "$TMPDIR/configs/spaces/sm80.yaml" --max-configs 1 \
    --shape 16,1024 --shape 16,4096 --m 16,64 --db "$TMPDIR/sums.db"
got=$(sqlite3 "$TMPDIR/sums.db" "SELECT k, m, outcome FROM current WHERE family = 'quantize' ORDER BY 1, 2; SELECT '';
    SELECT k, m FROM headline WHERE ratio_with_quantize IS NOT NULL" | tr '\n' ' ')
[ "$got" = '1024|16|ok 1024|64|wrong 4096|16|wrong 4096|64|wrong  1024|16 ' ] || verdict="$verdict $got; "
result "a quantisation that is wrong for some tokens or features is in no ratio"

finish
