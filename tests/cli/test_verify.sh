#!/bin/bash
# Every way of computing the same numbers is right on odd shapes, and without split-K all agree bit for bit.
# shellcheck disable=SC2054 # commas inside values
set -u
number=0
failures=0

# right NAME AT_LEAST ARGUMENTS...: all verdicts are right, at least so many of them.
right() {
    local name=$1 least=$2 count
    shift 2
    number=$((number + 1))
    "${MIXTUNE:-mixtune}" verify --quiet "$@" >"$TMPDIR/out" 2>"$TMPDIR/err"
    local code=$?
    count=$(grep -c '^right' "$TMPDIR/out")
    if [ "$code" = 0 ] && [ "$count" -ge "$least" ] && grep -q '^[0-9]* right, 0 wrong' "$TMPDIR/out" &&
        { [ "$least" -lt 10 ] || grep -q 'without split-K compared bit for bit' "$TMPDIR/out"; }; then
        echo "ok $number - $name: $count right"
    else
        failures=$((failures + 1))
        echo "not ok $number - $name"
        echo "# exit code $code, $count right, at least $least expected"
        { grep -v '^right' "$TMPDIR/out" && cat "$TMPDIR/err"; } | head -n 20 | sed 's/^/# /'
    fi
}

soft=(--device soft:a100-sxm-80g)
odd=(--shape 33,257,129 --shape 130,48,1000 --shape 1,100,300)
for group in 64 128 256; do # K of 129 is one step of 256: no split there
    right "groups of $group, every promotion, zero point, order and split" $((group < 256 ? 102 : 84)) "${soft[@]}" --all --space proof-sm80 "${odd[@]}" \
        --group $group --scheme w4a8,w8a8 --bias
done
right "bf16" 102 "${soft[@]}" --all --space proof-sm80 "${odd[@]}" --scheme w4a8,w8a8 --dtype bf16
right "every tile of the quick space, and a mixed layer" 28 "${soft[@]}" --all --space quick-sm80-decode,quick-sm80-prefill --shape 33,257,300 \
    --scheme w4a8,w8a8,w4.8a8
right "tall and wide, as a model has it" 2 "${soft[@]}" --shape 17,4096,4096 --scheme w4a8

echo "1..$number"
exit $((failures > 0))
