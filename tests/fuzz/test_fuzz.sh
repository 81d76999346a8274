#!/bin/bash
# The fuzzers of what reads texts, images and files of others (tests/fuzz/fuzz_KIND.c): two at a time, all together FUZZ_SECONDS (60), from
# their seeds and from tests/fuzz/corpus/KIND, and no input may end one.
# tests/fuzz/test_fuzz.sh --can: whether there is a clang with libFuzzer, which builds them.
# `make fuzz` runs one for longer and keeps what it finds interesting (FUZZ_CORPUS, a folder with a folder for each).
set -u
fuzz=${BUILD:-build}/fuzz
case ${1:-} in
--can)
    main='int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n); int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n) { return d && n > 9 ? 0 : 0; }'
    exec clang -x c -fsanitize=fuzzer,address,undefined -o /dev/null - <<<"$main" 2>/dev/null
    ;;
--one) # SECONDS KIND: leaves $TMPDIR/KIND.err and its exit code in $TMPDIR/KIND.rc
    kind=$3
    corpus=${FUZZ_CORPUS:-$TMPDIR}/$kind kept=tests/fuzz/corpus/$kind found=$fuzz/found-$kind
    rm -rf "$found"
    mkdir -p "$found" "$corpus" "$fuzz/seeds/$kind"
    [ -d "$kept" ] || kept=$corpus
    words=$fuzz/seeds/$kind.dict
    [ -e "$words" ] || words=/dev/null
    most=65536
    [ "$kind" != bundle ] || most=131072 # a page for each table
    # Generous limits: on a busy machine an input is slow, too, and AddressSanitizer keeps what was freed.
    "$fuzz/fuzz_$kind" -max_total_time="$2" -timeout=100 -rss_limit_mb=512 -max_len=$most -print_final_stats=1 -artifact_prefix="$found/" \
        -dict="$words" "$corpus" "$kept" "$fuzz/seeds/$kind" >"$TMPDIR/$kind.out" 2>"$TMPDIR/$kind.err"
    echo $? >"$TMPDIR/$kind.rc"
    exit 0
    ;;
esac
. tests/cli/cases.sh
read -ra kinds <<<"${FUZZ_KINDS:-$(echo tests/fuzz/fuzz_*.c | sed 's|tests/fuzz/fuzz_||g; s|\.c||g')}"
seconds=$((${FUZZ_SECONDS:-60} / ((${#kinds[@]} + 1) / 2)))

stat_of() { sed -n "s/^stat::$2: *//p" "$TMPDIR/$1.err"; }

for kind in "${kinds[@]}"; do
    [ ! -x "$fuzz/fuzz_$kind" ] || echo "$kind"
done | xargs -r -n 1 -P 2 "$0" --one "$seconds"
for kind in "${kinds[@]}"; do
    name="$kind: no input in $seconds s that crashes, hangs or leaks"
    if [ ! -x "$fuzz/fuzz_$kind" ]; then
        skip "$name" "there is no clang with libFuzzer to build it (Debian: clang, libclang-rt-dev)"
        continue
    fi
    # shellcheck disable=SC2016 # what it said, as if it ran now
    run 0 bash -c 'cat "$0.err" >&2; exit "$(cat "$0.rc")"' "$TMPDIR/$kind"
    executed=$(stat_of "$kind" number_of_executed_units)
    echo "# ${executed:-no} inputs, $(grep -oE 'cov: [0-9]+' "$TMPDIR/err" | tail -n 1 | tr -d :), $(stat_of "$kind" peak_rss_mb) MB"
    [ "${executed:-0}" -gt 100 ] || verdict+=" only ${executed:-no} inputs; "
    for input in "$fuzz/found-$kind"/*; do
        [ ! -e "$input" ] || verdict+=" again: $fuzz/fuzz_$kind $input; "
    done
    result "$name"
done
finish
