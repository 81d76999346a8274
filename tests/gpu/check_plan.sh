# shellcheck shell=bash disable=SC2034,SC2054,SC2154 # others read and set these; shapes and knobs hold commas
# What is run. check.sh and fill.sh source this, so that what one compiles and models beforehand is what the other runs.

# of each line: the shape, the group size, the type of Y
if [ "${REHEARSE:-0}" = 1 ]; then
    odd=("1,100,300 128 fp16") plain=(5,256,256) large=5,256,256 f16=3,40,136 smallest=9,136,136
    proof16=(--family f16) proof80=(--family sm80) proof90=(--family sm90)
    sweep_work=(--model qwen2.5-0.5b --layers o --m 1,16 --scheme w4a8)
    first=1 portions=(2 3 24)
    sample_work=("--model qwen2.5-0.5b --layers o --m 16 --scheme w4a8") drawn=4
    peer_work=(--shape 16,96,512)
else
    # Each pair of knobs meets on several tiles and K steps in the last two (tests/unit/plan/test_proofs.c).
    odd=("1,100,300 64 fp16" "33,257,129 128 bf16" "130,48,1000 256 fp16" "200,136,800 128 fp16" "580,136,140 128 fp16")
    plain=(1,4096,4096 256,6144,4096) large=1024,4096,14336
    f16=390,136,1100 smallest=33,264,300
    proof16=(--space proof-f16 --all) proof80=(--space proof-sm80) proof90=(--space proof-sm90,proof-sm90-clusters)
    sweep_work=(--model llama-3.1-8b --m 1,16,64,256,1024,4096 --scheme w4a8,w8a8)
    first=6 portions=(12 24 48) # candidates of each problem
    sample_work=("--model llama-3.1-8b --layers qkv --m 16 --scheme w4a8" "--model llama-3.1-8b --layers down --m 256 --scheme w4a8"
        "--model llama-3.1-8b --layers gate_up --m 1024 --scheme w8a8") drawn=60
    peer_work=(--model llama-3.1-8b --m 1,16,256,4096
        --peers torch-fp16,torch-fp8,torch-int-mm,torch-int4pack,triton-w4a8,humming-w4a8,humming-w8a8)
fi

# What the device has. A family that was dropped is no longer among them.
families=(sm80)
[ "$cc" != 90 ] || families+=(sm90)
kept() { ! grep -q "^$1 " "$state/dropped" 2>/dev/null; } # family

# The spaces of the families that are kept, with commas between: quick ones, or the whole ones.
spaces() { # quick, whole; sets $space
    local family
    space=
    for family in "${families[@]}"; do
        kept "$family" || continue
        [ "$1" = whole ] && space+=,$family || space+=,quick-$family-decode,quick-$family-prefill
    done
    space=${space#,}
}

# Another plan: a file that sets some of these anew.
# shellcheck disable=SC1090
[ -z "${PLAN:-}" ] || . "$PLAN"
