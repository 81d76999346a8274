#!/bin/bash
# The test runner: tests/run.sh WORD TEST...
# Runs the TESTs (programs and shell scripts) whose path holds WORD ("" is all), one per core, and ends with the line
# `N passed, N failed, N skipped`, which counts test cases. Exit code 1 if one failed.
#
# A test writes TAP: `ok 1 - name`, `not ok 2 - name`, `ok 3 # SKIP why`. One that writes none of these is a single case that
# its exit code decides, 77 meaning skipped. A crash, a time-out and a non-zero exit after only good cases are a failed case.
# A test below BUILD/asan is run with the programs there, whether it is one of them or a shell script of this tree.
# In a test's environment: MIXTUNE (the command), MIXTUNE_CACHE_DIR (shared by all tests), MIXTUNE_CONFIGS, BUILD, and TMPDIR,
# a folder of its own that is removed afterwards. It starts in the root of the source tree.
# BUILD is the build folder; TEST_TIMEOUT the seconds after which a test hangs, TEST_JOBS how many run at a time.
set -u
cd "$(dirname "$0")/.." || exit 1
BUILD=$(realpath "${BUILD:-build}")
export BUILD
work=$BUILD/test-run

run_one() { # test: leaves $work/NAME.{log,sum}, shows one line
    local test=$1 name=${1#"$PWD"/} root=$BUILD cache=$BUILD/test-cache log code begin counts
    [[ $test == "$BUILD"/asan/* ]] && root=$BUILD/asan
    [ -e "$test" ] || test=$PWD/${test#"$root"/}
    name=${name#"${BUILD#"$PWD"/}"/}
    name=${name/tests\//}
    log=$work/${name//\//-}
    begin=$EPOCHREALTIME
    mkdir -p "$log.tmp"
    { TMPDIR=$log.tmp BUILD=$root MIXTUNE=$root/mixtune MIXTUNE_CACHE_DIR=$cache MIXTUNE_CONFIGS=$PWD/configs \
        CMOCKA_MESSAGE_OUTPUT=TAP NO_COLOR=1 UBSAN_OPTIONS=print_stacktrace=1 \
        LSAN_OPTIONS=suppressions=$PWD/tests/lsan.supp:print_suppressions=0 \
        timeout --kill-after=5 "${TEST_TIMEOUT:=1800}" "$test" >"$log.log" 2>&1 </dev/null
    code=$?; } 2>/dev/null # the shell's own word on a killed test
    rm -rf "$log.tmp"
    counts=$(awk -v code="$code" '
        /^(not )?ok .*# *SKIP/ { skipped++; next }
        /^ok( |$)/ { passed++ }
        /^not ok( |$)/ { failed++ }
        END {
            if (!(passed + failed + skipped) && code == 77) skipped = 1
            else if (code != 0 && !failed) failed = 1
            else if (!(passed + failed + skipped)) passed = 1
            print passed + 0, failed + 0, skipped + 0
        }' "$log.log")
    echo "$counts" >"$log.sum"
    report "$name" "$code" "$log.log" "$(awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')" "$counts"
}

report() { # name, exit code, log, seconds, "passed failed skipped"
    local passed failed skipped verdict=ok why=
    read -r passed failed skipped <<<"$5"
    [ "$passed" -gt 0 ] || verdict=skip
    [ "$failed" = 0 ] || verdict=FAIL
    case $2 in
    124 | 137) [ "$failed" = 0 ] || why=", timed out after $TEST_TIMEOUT s" ;;
    13[0-9] | 14[0-9]) why=", killed by signal $(($2 - 128))" ;;
    esac
    {
        printf '%-4s %-44s %3d passed, %d failed, %d skipped  %6s s%s\n' "$verdict" "$1" "$passed" "$failed" "$skipped" "$4" "$why"
        if [ "$failed" != 0 ]; then
            tail -n 60 "$3" | cut -c -400 | sed 's/^/     | /'
        fi
    } >"$3.report"
    flock "$work/lock" cat "$3.report"
}

if [ "${1:-}" = --one ]; then
    run_one "$2"
    exit 0
fi

word=${1:-}
shift
rm -rf "$work"
mkdir -p "$work"
chosen=()
for test in "$@"; do
    [[ $test == *"$word"* ]] && chosen+=("$(realpath -ms "$test")")
done
if [ ${#chosen[@]} = 0 ]; then
    echo "no test has '$word' in its path" >&2
    exit 1
fi
export TEST_TIMEOUT
printf '%s\0' "${chosen[@]}" | xargs -0 -n 1 -P "${TEST_JOBS:-$(nproc)}" "$0" --one
cat "$work"/*.sum | awk '{ p += $1; f += $2; s += $3 } END { printf "%d passed, %d failed, %d skipped\n", p, f, s; exit f > 0 }'
