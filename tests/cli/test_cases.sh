#!/bin/bash
# The helpers of the shell tests: whatever goes wrong in a case is told, and nothing after it takes it back.
# shellcheck disable=SC2016 # scripts in quotes
set -u
. tests/cli/cases.sh
astray= # helpers that are broken may call it good: the exit code does not ask them

# A test of its own that sources cases.sh, in a folder of its own.
script() {
    mkdir -p "$TMPDIR/inner"
    rm -rf "$TMPDIR/inner"/*
    TMPDIR=$TMPDIR/inner AWAIT_SECONDS=0 bash -uc ". tests/cli/cases.sh; $1"
}
# tells NAME CODE LINES SCRIPT: the script ends with CODE, and its verdicts are LINES.
tells() {
    local told
    told=$(script "$4" 2>"$TMPDIR/err"; echo "code $?")
    told=$(grep -v '^#' <<<"$told")
    [ "$told" = "$3"$'\n'"code $2" ] || astray=1 verdict+=" other verdicts: $told; "
    result "$1"
}

tells 'good cases are good' 0 $'ok 1 - a\nok 2 - b\n1..2' \
    'run 0 true; result a; run 3 bash -c "echo word; echo other >&2; exit 3"; expect "^word$" out; forbid word err; expect other err; result b; finish'
tells 'a second run takes back nothing of the first' 1 $'not ok 1 - a\nok 2 - b\n1..2' 'run 0 false; run 0 true; result a; run 0 true; result b; finish'
tells 'nor does a sentence' 1 $'not ok 1 - a\n1..1' 'run 0 false; sentence 1 one bash -c "echo one >&2; exit 1"; result a; finish'
tells 'another exit code' 1 $'not ok 1 - a\nnot ok 2 - b\n1..2' 'run 1 true; result a; run 64 bash -c "exit 65"; result b; finish'
tells 'a command that is not there' 1 $'not ok 1 - a\n1..1' 'run 0 no-such-command; result a; finish'
tells 'what is expected must be there, and then' 1 $'not ok 1 - a\nok 2 - b\n1..2' 'run 0 echo word; expect other out; run 0 echo other; result a; expect other out; result b; finish'
tells 'what is forbidden must not' 1 $'not ok 1 - a\nok 2 - b\n1..2' 'run 0 echo word; forbid word out; result a; forbid other out; result b; finish'
tells 'expect and forbid without the file' 1 $'not ok 1 - a\nnot ok 2 - b\n1..2' 'expect word none; result a; forbid word none; result b; finish'
tells 'a pattern that is none' 1 $'not ok 1 - a\nnot ok 2 - b\n1..2' 'run 0 echo "(word"; expect "(word" out; result a; forbid "(word" out; result b; finish'
tells 'a sentence has all its words' 1 $'ok 1 - a\nnot ok 2 - b\n1..2' \
    'say() { echo one two >&2; return 1; }; sentence 1 "two|one" say; result a; sentence 1 "two|three" say; result b; finish'
tells 'a sentence is one line' 1 $'not ok 1 - a\nnot ok 2 - b\n1..2' \
    'sentence 1 one bash -c "echo one >&2; echo two >&2; exit 1"; result a; sentence 0 "" true; result b; finish'
tells 'results beside a sentence' 1 $'not ok 1 - a\nok 2 - b\n1..2' 'run 1 bash -c "echo word; exit 1"; no_results; result a; run 1 false; no_results; result b; finish'
tells 'what a test adds itself counts' 1 $'not ok 1 - a\nok 2 - b\n1..2' 'run 0 true; verdict+=" no"; run 0 true; result a; result b; finish'
tells 'waiting in vain' 1 $'not ok 1 - a\nok 2 - b\n1..2' 'await false; run 0 true; result a; await true; result b; finish'
tells 'a skipped case is neither, and hides nothing' 1 $'ok 1 - a # SKIP why\nnot ok 2 - b\n1..2' 'run 0 false; skip a why; result b; finish'
tells 'a result takes its name alone' 1 $'not ok 1 - \n1..1' 'run 0 true; result "$verdict" a; finish'
tells 'checks that no result tells fail at the end, good or bad' 1 $'ok 1 - a\nnot ok 2 - every verdict is told\n1..2' 'run 0 true; result a; run 0 true; finish'
tells 'so does a verdict of the test itself' 1 $'not ok 1 - every verdict is told\n1..1' 'verdict+=" no"; finish'
tells 'a failed case stays one to the end' 1 $'not ok 1 - a\nok 2 - b\n1..2' 'run 0 false; result a; result b; finish'

run 1 script 'run 0 bash -c "echo the first >&2; exit 1"; run 0 bash -c "echo the second >&2"; verdict+=$'"'\nok 7 - no case'"'; result a; finish'
expect '^# +exit code 1, not 0, of: bash -c echo the first' out
expect '^# ok 7 - no case$' out
expect '^# stderr: the first$' out
forbid 'the second$' out
result 'the words of the run that failed first are shown, and none is taken for a verdict'
[ -z "$astray" ] || exit 1
finish
