#!/bin/bash
# Every way of computing with wgmma is right and in order: the software device faults where PTX touches a register of wgmma too late or too early.
# shellcheck source=tests/cli/cases.sh
. tests/cli/cases.sh

# tests/unit/plan/test_space.c knows these shapes: each pair of knobs is proved on one of them.
run 0 "$MIXTUNE" verify --quiet --device soft:h100-sxm --all --space proof-sm90 --shape 33,257,300 --shape 50,264,800 --shape 580,40,140 \
    --scheme w4a8,w8a8
expect '^243 right, 0 wrong' out
expect '26 configurations without split-K compared bit for bit' out
result "every promotion, zero point and number of blocks, and each pair of knobs"

run 0 "$MIXTUNE" verify --quiet --device soft:h100-sxm --all --space proof-sm90-tiles --shape 33,257,300 --scheme p20
expect '^18 right, 0 wrong' out
expect '17 configurations without split-K compared bit for bit' out
result "every way to share the tiles of a mixed layer"

run 0 "$MIXTUNE" verify --quiet --device soft:h100-sxm --all --space proof-sm90 --shape 33,257,300 --shape 580,40,140 --scheme w4a8-sym
expect '^39 right, 0 wrong' out
result "symmetric weights with every promotion and number of blocks"

run 0 "$MIXTUNE" verify --quiet --device soft:h100-sxm --all --space proof-sm90-tiles --shape 33,257,300 --scheme w4a8-sym --rows8 1,17
expect '^36 right, 0 wrong' out
result "one and a few features in 8 bits, the others symmetric"
finish
