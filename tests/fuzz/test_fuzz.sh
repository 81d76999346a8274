#!/bin/bash
# The fuzzers of what reads texts, images and files of others (tests/fuzz/fuzz_KIND.c): two at a time, all together FUZZ_SECONDS (60), from
# their seeds and from tests/fuzz/corpus/KIND, and no input may end one.
# tests/fuzz/test_fuzz.sh --can: whether there is a clang with libFuzzer, which builds them.
# `make fuzz` runs one for longer and keeps what it finds interesting (FUZZ_CORPUS, a folder with a folder for each).
set -u
if [ "${1:-}" = --can ]; then
    main='int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n); int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n) { return d && n > 9 ? 0 : 0; }'
    exec clang -x c -fsanitize=fuzzer,address,undefined -o /dev/null - <<<"$main" 2>/dev/null
fi
. tests/cli/cases.sh
mapfile -t kinds < <(printf '%s\n' ${FUZZ_KINDS:-tests/fuzz/fuzz_*.c} | sed 's|.*/fuzz_||; s|\.c$||')
seconds=$((${FUZZ_SECONDS:-60} / ((${#kinds[@]} + 1) / 2)))
fuzz=$BUILD/fuzz

# Leaves $TMPDIR/KIND.err and its exit code in $TMPDIR/KIND.rc. Limits in seconds are generous: on a busy machine an input is slow, too.
fuzz_one() { # kind
    local kind=$1 found=$fuzz/found-$1 corpus=${FUZZ_CORPUS:-$TMPDIR}/$1 kept=tests/fuzz/corpus/$1
    rm -rf "$found"
    mkdir -p "$found" "$corpus" "$fuzz/seeds/$kind"
    [ -d "$kept" ] || kept=$corpus
    "$fuzz/fuzz_$kind" -max_total_time="$seconds" -timeout=100 -rss_limit_mb=512 -max_len=65536 -print_final_stats=1 \
        -artifact_prefix="$found/" -dict="$fuzz/seeds/$kind.dict" "$corpus" "$kept" "$fuzz/seeds/$kind" >"$TMPDIR/$kind.out" 2>"$TMPDIR/$kind.err"
    echo $? >"$TMPDIR/$kind.rc"
}

# What it said, as if it ran now.
told() { # kind
    cat "$TMPDIR/$1.err" >&2
    return "$(cat "$TMPDIR/$1.rc")"
}
stat_of() { sed -n "s/^stat::$2: *//p" "$TMPDIR/$1.err"; }

for kind in "${kinds[@]}"; do
    [ ! -x "$fuzz/fuzz_$kind" ] || echo "$kind"
done | (
    export -f fuzz_one
    export FUZZ_CORPUS=${FUZZ_CORPUS:-} fuzz seconds
    xargs -r -n 1 -P 2 bash -c 'fuzz_one "$1"' -
)
for kind in "${kinds[@]}"; do
    name="$kind: no input in $seconds s that crashes, hangs or leaks"
    if [ ! -x "$fuzz/fuzz_$kind" ]; then
        skip "$name" "there is no clang with libFuzzer to build it (Debian: clang, libclang-rt-dev)"
        continue
    fi
    run 0 told "$kind"
    executed=$(stat_of "$kind" number_of_executed_units)
    echo "# ${executed:-no} inputs, $(grep -oE 'cov: [0-9]+' "$TMPDIR/$kind.err" | tail -1 | tr -d : || true), $(stat_of "$kind" peak_rss_mb) MB"
    [ "${executed:-0}" -gt 100 ] || verdict+=" only ${executed:-no} inputs; "
    for input in "$fuzz/found-$kind"/*; do
        [ ! -e "$input" ] || verdict+=" again: $fuzz/fuzz_$kind $input; "
    done
    result "$name"
done
finish
