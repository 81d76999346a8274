#!/bin/bash
# The machine code of our own kernels is found in their PTX: no multiplication is made or lost on the way, and no instruction is unknown.
set -u
. tests/cli/cases.sh

# counted DEVICE FAMILY SCHEMES SHAPE CONFIG...: bench them, and compare what the time model was given for each launch.
counted() {
    local device=$1 family=$2 schemes=$3 shape=$4 config
    local -a list=()
    shift 4
    for config; do list+=(--config "$config"); done
    rm -f "$TMPDIR/trace"
    SOFTGPU_TRACE=$TMPDIR/trace run 0 "$MIXTUNE" bench --quiet --json --device "soft:$device" --family "$family" --shape "$shape" \
        --scheme "$schemes" "${list[@]}"
    forbid 'of no known kind' err
    python3 - "$TMPDIR/trace" "gemm_$family" <<'EOS' >"$TMPDIR/counts" 2>&1 || verdict+=" $family: $(tail -1 "$TMPDIR/counts"); "
import json, sys
lines = [line for line in map(json.loads, open(sys.argv[1])) if line["kernel"] == sys.argv[2]]
assert lines, "no launch was estimated"
for line in lines:
    c = line["counters"]
    mma, machine = c["pipe_tensor"], c["machine_tensor"]
    assert mma > 0 and abs(machine - mma) <= 1e-3 * mma + 1, f"{machine} multiplications of machine code for {mma}: {line['label']}"
    ratio = c["machine_instructions"] / c["warp_instructions"]
    assert 0.6 < ratio < 2.5, f"{ratio} instructions for one of PTX: {line['label']}"
    pipes = sum(v for k, v in c.items() if k.startswith("machine_") and k != "machine_instructions")
    assert 0.7 * c["machine_instructions"] < pipes <= c["machine_instructions"] + 64, f"{pipes} on pipes: {line['label']}"
EOS
}

counted a100-sxm-80g sm80 w4a8,w8a8 16,1024,4096 tile_m=16 tile_m=16,split_k=4
counted a100-sxm-80g sm80 w4a8 300,1024,2048 tile_m=128,warps_m=2,promote=1 tile_m=128,warps_m=2,promote=2,zero=1 \
    tile_m=64,promote=0,tile_k=256
counted a100-sxm-80g f16 w4a8 300,1024,2048 tile_m=64 tile_m=128,split_k=2
result 'sm80 and f16'

counted h100-sxm sm90 w4a8,w8a8 16,1024,4096 tile_m=16,stages=8,consumers=2,cluster_k=4 tile_m=16,stages=8,consumers=2,stream_k=4
counted h100-sxm sm90 w4a8 16,1024,4096 tile_m=16,stages=12,consumers=3,share_k=1,zero=1
counted h100-sxm sm90 w4a8 300,1024,2048 tile_m=128,stages=4,consumers=2,store=1,promote=2,zero=1 \
    tile_m=64,stages=4,consumers=2,pingpong=1 blocks=2,tile_m=64,stages=4,consumers=2,yield=1
result 'sm90'
finish
