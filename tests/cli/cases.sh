# shellcheck shell=bash
# What the shell tests share; they source it. A case is any number of `run`, `sentence`, `expect` and `forbid`: each adds what is wrong to
# $verdict ("" is good), and so may the test itself. `result NAME` tells the verdict and begins the next case; `finish` comes last.
number=0
failures=0
verdict=
untold= # something was checked since the last result

# run CODE COMMAND...: leaves $TMPDIR/out and $TMPDIR/err.
run() {
    local want=$1 got command=${*:2}
    shift
    # The words of the run that failed first are what one wants to see.
    [ -z "$verdict" ] || [ -e "$TMPDIR/err.first" ] || cp "$TMPDIR/err" "$TMPDIR/err.first"
    "$@" >"$TMPDIR/out" 2>"$TMPDIR/err"
    got=$?
    untold=1
    [ "$got" = "$want" ] || verdict+=" exit code $got, not $want, of: ${command:0:200}; "
}

# sentence CODE WORDS COMMAND...: as run, and what it says is one line on standard error with all the WORDS, which | separates.
sentence() {
    local words=$2 word
    run "$1" "${@:3}"
    [ "$(wc -l <"$TMPDIR/err")" = 1 ] || verdict+=" $(wc -l <"$TMPDIR/err") lines on standard error, not 1; "
    while read -r -d '|' word; do
        grep -qF -- "$word" "$TMPDIR/err" || verdict+=" no '$word' in err; "
    done <<<"$words|"
}

# A pattern is, or is not, in $TMPDIR/out or another file of $TMPDIR. A file that is not there is wrong for both.
expect() {
    untold=1
    grep -qE -- "$1" "$TMPDIR/$2" || verdict+=" no /$1/ in $2; "
}
forbid() {
    untold=1
    grep -qE -- "$1" "$TMPDIR/$2"
    case $? in
    0) verdict+=" /$1/ in $2; " ;;
    1) ;;
    *) verdict+=" /$1/ cannot be looked for in $2; " ;;
    esac
}

no_results() { [ ! -s "$TMPDIR/out" ] || verdict+=" results in spite of the failure; "; }

# await COMMAND...: until it succeeds. A busy machine may need seconds; ten minutes are a fault, and told.
await() {
    local end=$((SECONDS + ${AWAIT_SECONDS:-600}))
    until "$@"; do
        if [ $SECONDS -ge $end ]; then
            verdict+=" waited in vain for: $*; "
            return 1
        fi
        sleep 0.05
    done
}

result() { # name
    local said=$TMPDIR/err.first
    [ $# = 1 ] || verdict+=" result takes a name and nothing else; "
    number=$((number + 1))
    if [ -z "$verdict" ]; then
        echo "ok $number - $1"
    else
        failures=$((failures + 1))
        echo "not ok $number - $1"
        echo "# ${verdict//$'\n'/$'\n# '}"
        [ -e "$said" ] || said=$TMPDIR/err
        [ ! -e "$said" ] || tail -n 20 "$said" | sed 's/^/# stderr: /'
    fi
    verdict='' untold=''
    rm -f "$TMPDIR/err.first"
}

skip() { # name, why
    number=$((number + 1))
    echo "ok $number - $1 # SKIP $2"
}

# What no result has told is a failed case.
finish() {
    if [ -n "$verdict$untold" ]; then
        verdict+=' the test ends without a result for its last checks; '
        result 'every verdict is told'
    fi
    echo "1..$number"
    exit $((failures > 0))
}
