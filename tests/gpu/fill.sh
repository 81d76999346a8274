#!/bin/bash
# Before a GPU can be had: compiles the kernels that check.sh runs, and models the times of its candidates on the software device that stands
# for the GPU, so that none of the GPU's minutes goes into either.
#
#   fill.sh FOLDER DEVICE      FOLDER gets images/ and modelled/NAME.db, NAME-sample.db of soft:NAME: DEVICE, or what stands for it
#
# `make gpu-archive FOR=DEVICE` calls it. It is resumed where it was stopped, and takes a quarter of an hour on two cores. REHEARSE=1: the
# small plan of a rehearsal; PLAN: as in check.sh. modelled/NAME.trace, for tests/gpu/soft_calibrate, need not travel.
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(realpath -m "${1:?fill.sh FOLDER DEVICE}")
build=$(realpath "${BUILD:-$here/../../build}")
mixtune=$build/mixtune
device=$("$mixtune" info --json --quiet --device "${2:?fill.sh FOLDER DEVICE}" | sed 's/.*"stand_in":"\([^"]*\)".*/\1/')
name=${device#soft:}
[ "$device" != "$name" ] || exit 69 # the command has said why
export MIXTUNE_CACHE_DIR=$folder/images MIXTUNE_DEVICE=$device
unset MIXTUNE_IMAGES MIXTUNE_TEMPLATES
mkdir -p "$folder/images" "$folder/modelled"

"$mixtune" info --json --quiet | sed 's/.*"nvrtc_version":\([0-9]*\).*/\1/' >"$folder/images/nvrtc.new"
# Kernels of another compiler would only be carried about.
[ ! -e "$folder/images/nvrtc" ] || cmp -s "$folder/images/nvrtc" "$folder/images/nvrtc.new" || rm -rf "$folder/images/kernels"
mv "$folder/images/nvrtc.new" "$folder/images/nvrtc"
cc=$("$mixtune" info --json --quiet | sed 's/.*"compute_capability":\([0-9]*\).*/\1/')
# shellcheck source=tests/gpu/check_plan.sh
state=$folder . "$here/check_plan.sh"

say() { echo "fill: $*" >&2; }
begin=$SECONDS

# The same configurations on a small problem: a kernel does not depend on the shape.
prove() { "$mixtune" verify --quiet --shape 33,264,300 "$@" >/dev/null; }
say "the kernels of comparisons and proofs"
"$build/tests/gpu/compare" --device "$device" --against "$device" --kernels "$here" >"$folder/compare.txt" || { grep '^not ok' "$folder/compare.txt"; exit 1; }
rm "$folder/compare.txt"
for line in "${odd[@]}"; do
    read -r _ group dtype <<<"$line"
    for family in "${families[@]}"; do
        [ "$family" = sm90 ] && proof=("${proof90[@]}") || proof=("${proof80[@]}")
        prove "${proof[@]}" --scheme w4a8,w8a8 --group "$group" --dtype "$dtype" --bias
        prove --family "$family" --scheme w4.4a8,w6a8 --group "$group" --dtype "$dtype"
    done
done
for family in "${families[@]}"; do
    [ "$family" = sm90 ] && proof=("${proof90[@]}") || proof=("${proof80[@]}")
    prove "${proof[@]}" --scheme w4a8,w8a8
    prove --family "$family" --scheme w4.8a8
done
prove --family f16 "${all[@]}" --dtype fp16,bf16
"$mixtune" probe --quiet --db "$folder/modelled/$name-limits.db" >/dev/null
rm -f "$folder/modelled/$name-limits.db"*

say "the modelled times of all candidates"
spaces quick
SOFTGPU_TRACE=$folder/modelled/$name.trace "$mixtune" sweep "${sweep_work[@]}" --space "$space" --quick --finals 0 --db "$folder/modelled/$name.db" >/dev/null
spaces whole
for line in "${sample_work[@]}"; do
    read -ra words <<<"$line"
    "$mixtune" sweep "${words[@]}" --space "$space" --quick --strategy sample --seed 1 --max-configs "$drawn" --finals 0 \
        --db "$folder/modelled/$name-sample.db" >/dev/null
done
say "$(find "$folder/images/kernels" -type f | wc -l) kernels, $(du -sh "$folder/images" | cut -f1); modelled times $(du -ch "$folder/modelled/"*.db | tail -n 1 | cut -f1); $((SECONDS - begin)) s"
