#!/bin/bash
# Every way of computing with wgmma is right and in order: the software device faults where PTX touches a register of wgmma too late or too early.
# shellcheck source=tests/cli/cases.sh disable=SC2054 # commas inside values
. tests/cli/cases.sh

# tests/unit/plan/test_proofs.c knows these shapes: each has several tiles along M and N, and several K steps.
shapes=(--shape 100,393,300 --shape 200,136,800 --shape 580,136,140)
run 0 "$MIXTUNE" verify --quiet --device soft:h100-sxm --all --space proof-sm90 "${shapes[@]}" --scheme w4a8,w8a8
expect '^319 right, 0 wrong' out
expect '25 configurations that add up in order compared bit for bit' out
result "every promotion, zero point and number of blocks, and each pair of knobs"

run 0 "$MIXTUNE" verify --quiet --device soft:h100-sxm --all --space proof-sm90-tiles --shape 33,257,300 --scheme p20
expect '^28 right, 0 wrong' out
expect '5 configurations that add up in order compared bit for bit' out
result "every way to share the tiles of a mixed layer"

run 0 "$MIXTUNE" verify --quiet --device soft:h100-sxm --all --space proof-sm90 "${shapes[@]}" --scheme w4a8-sym
expect '^78 right, 0 wrong' out
result "symmetric weights with every promotion and number of blocks"

run 0 "$MIXTUNE" verify --quiet --device soft:h100-sxm --all --space proof-sm90-tiles --shape 33,257,300 --scheme w4a8-sym --rows8 1,17
expect '^16 right, 0 wrong' out
result "one and a few features in 8 bits, the others symmetric"
finish
