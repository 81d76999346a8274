#!/bin/bash
# What a launch costs around the driver's part of it, in instructions: a number that no other load changes.
set -u
. tests/cli/cases.sh
run 0 "$BUILD/tests/bench/bench_launch"
grep -qE 'no valgrind|valgrind cannot' "$TMPDIR/out" && { echo "ok 1 - launches # SKIP valgrind does not count here"; exit 0; }
expect '^launch: [0-9]+ instructions \(quantise\)$' out
expect '^launch: [0-9]+ instructions \(sm80 mixed, split-K\)$' out
expect '^launch: [0-9]+ instructions \(sm90 stream-K\)$' out
result launches_take_500_instructions_at_most
finish
