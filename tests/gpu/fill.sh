#!/bin/bash
# Before a GPU can be had: compiles the kernels that check.sh runs, and models the times of its candidates on the software device that stands
# for the GPU, so that none of the GPU's minutes goes into either.
#
#   fill.sh FOLDER DEVICE      FOLDER gets images/ and modelled/NAME.db, NAME-sample.db of soft:NAME: DEVICE, or what stands for it
# MODEL=0: only the kernels. After a change of kernels the older modelled times still guide a sweep, and say nothing of how they rank.
#
# `make gpu-archive FOR=DEVICE` calls it. It is resumed where it was stopped, and takes half an hour on two cores. REHEARSE=1: the
# small plan of a rehearsal; PLAN, ONLY: as in check.sh. Kernels of older templates stay in images/: remove it when it has grown too large to carry.
# modelled/NAME.trace, for tests/gpu/soft_calibrate, need not travel.
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
state=$folder patience=8 compare=$build/tests/gpu/compare
# shellcheck source=tests/gpu/check_plan.sh
. "$here/check_plan.sh"
# shellcheck source=tests/gpu/check_proofs.sh
. "$here/check_proofs.sh"

say() { echo "fill: $*" >&2; }
begin=$SECONDS

say "the kernels of comparisons, proofs and limits"
"$compare" --device "$device" --against "$device" --kernels "$here" "${only[@]}" >"$folder/compare.txt" || { grep '^not ok' "$folder/compare.txt"; exit 1; }
verify() { "$mixtune" verify --quiet --compile-only "${@:3}" >/dev/null; } # the proofs of check.sh, but nothing runs
proofs
for family in "${families[@]}" f16; do
    sanitized "$family"
    verify "$family" - "${options[@]}"
done
"$mixtune" probe --quiet --db "$folder/limits.db" >/dev/null
rm -f "$folder/compare.txt" "$folder"/limits.db*

spaces quick
if [ "${MODEL:-1}" = 0 ]; then # else what is modelled is compiled, and no more
    say "the kernels of the sweep"
    verify sweep - "${sweep_work[@]}" --space "$space"
    verify f16 - --space quick-f16 --all --shape 16,512,512 # the baselines of a quick sweep
    say "$(find "$folder/images/kernels" -type f | wc -l) kernels; $((SECONDS - begin)) s"
    exit
fi

say "the modelled times of all candidates"
export SOFTGPU_CHECK=none # times are the same, and the kernels have been proved
export SOFTGPU_TRACE=$folder/modelled/$name.trace
"$mixtune" sweep "${sweep_work[@]}" --space "$space" --quick --finals 0 --db "$folder/modelled/$name.db" >/dev/null
# A bundle has kernels for other numbers of 8-bit features, too: those of the winners that are to be expected.
"$mixtune" export --quiet --db "$folder/modelled/$name.db" --out "$folder/modelled/$name.mixtune" >/dev/null
rm -f "$folder/modelled/$name.mixtune"
spaces whole
for line in "${sample_work[@]}"; do
    read -ra words <<<"$line"
    "$mixtune" sweep "${words[@]}" --space "$space" --quick --strategy sample --seed 1 --max-configs "$drawn" --finals 0 \
        --db "$folder/modelled/$name-sample.db" >/dev/null
done
say "$(find "$folder/images/kernels" -type f | wc -l) kernels, $(du -sh "$folder/images" | cut -f1); modelled times $(du -ch "$folder/modelled/"*.db | tail -n 1 | cut -f1); $((SECONDS - begin)) s"
