#!/bin/bash
# What dispatch costs, in instructions: numbers that no other load changes.
set -u
. tests/cli/cases.sh
bench=$BUILD/tests/bench

run 0 "$bench/bench_launch"
if grep -qE 'no valgrind|valgrind cannot' "$TMPDIR/out"; then
    echo "ok 1 - costs # SKIP valgrind does not count here"
    exit 0
fi
expect '^launch: [0-9]+ instructions \(quantise\)$' out
expect '^launch: [0-9]+ instructions \(sm80 mixed, split-K\)$' out
expect '^launch: [0-9]+ instructions \(sm90 stream-K\)$' out
result launches_take_500_instructions_at_most

opened() { # ROWS: instructions of opening a bundle of so many
    valgrind --tool=callgrind --callgrind-out-file=/dev/null --collect-atstart=no --toggle-collect=bundle_read \
        --toggle-collect=table_build "$bench/bench_open" "$1" 2>&1 | sed -n 's/.*Collected : //p'
}
# A row costs as much among many as among few, within 2 %: 10 layers more, then 60 more.
few=$(opened 200)
some=$(opened 400)
many=$(opened 1600)
run 0 test $((some - few)) -gt 0
run 0 test $((100 * (many - some))) -le $((102 * 6 * (some - few)))
result opening_is_linear_in_the_rows
finish
