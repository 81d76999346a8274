#!/bin/bash
# The fuzzers of what reads PTX, images and files of tensors (tests/fuzz/fuzz_*.c): each for its share of FUZZ_SECONDS (60) from its
# seeds, and no input may end it.
# tests/fuzz/test_fuzz.sh --can: whether there is a clang with libFuzzer, which builds them.
# `make fuzz` runs one for longer and keeps what it finds interesting (FUZZ_CORPUS, a folder with a folder for each).
set -u
if [ "${1:-}" = --can ]; then
    main='int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n); int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n) { return d && n > 9 ? 0 : 0; }'
    exec clang -x c -fsanitize=fuzzer,address,undefined -o /dev/null - <<<"$main" 2>/dev/null
fi
. tests/cli/cases.sh
read -ra kinds <<<"${FUZZ_KINDS:-ptx image tensors}"
seconds=$((${FUZZ_SECONDS:-60} / ${#kinds[@]}))
fuzz=$BUILD/fuzz

for kind in "${kinds[@]}"; do
    name="$kind: no input in $seconds s that crashes, hangs or leaks"
    if [ ! -x "$fuzz/fuzz_$kind" ]; then
        skip "$name" "there is no clang with libFuzzer to build it (Debian: clang, libclang-rt-dev)"
        continue
    fi
    found=$fuzz/found-$kind
    corpus=${FUZZ_CORPUS:-$TMPDIR}/$kind
    rm -rf "$found"
    mkdir -p "$found" "$corpus"
    # Limits in seconds are generous: on a busy machine an input is slow, too.
    run 0 "$fuzz/fuzz_$kind" -max_total_time=$seconds -timeout=300 -rss_limit_mb=4096 -malloc_limit_mb=8192 -max_len=65536 \
        -print_final_stats=1 -artifact_prefix="$found/" -dict="$fuzz/seeds/$kind.dict" "$corpus" "$fuzz/seeds/$kind"
    executed=$(sed -n 's/^stat::number_of_executed_units: *//p' "$TMPDIR/err")
    echo "# ${executed:-no} inputs"
    [ "${executed:-0}" -gt 100 ] || verdict+=" only ${executed:-no} inputs; "
    for input in "$found"/*; do
        [ ! -e "$input" ] || verdict+=" again: $fuzz/fuzz_$kind $input; "
    done
    result "$name"
done
finish
