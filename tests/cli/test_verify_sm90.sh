#!/bin/bash
# Every way of computing with wgmma is right and in order: the software device faults where PTX touches a register of wgmma too late or too early.
# shellcheck source=tests/cli/cases.sh
. tests/cli/cases.sh

run 0 "$MIXTUNE" verify --quiet --device soft:h100-sxm --all --space proof-sm90 --shape 33,257,300 --scheme w4a8,w8a8
expect '^220 right, 0 wrong' out
expect '25 configurations without split-K compared bit for bit' out
result "every promotion, zero point, number of blocks and order of tiles"
finish
