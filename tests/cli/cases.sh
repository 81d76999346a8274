# shellcheck shell=bash
# What the shell tests share; they source it. A case sets $verdict ("" is good) and ends with `result "$verdict" NAME`.
number=0
failures=0

result() { # verdict, name
    number=$((number + 1))
    if [ -z "$1" ]; then
        echo "ok $number - $2"
    else
        failures=$((failures + 1))
        echo "not ok $number - $2"
        echo "# $1"
        tail -n 20 "$TMPDIR/err" | sed 's/^/# stderr: /'
    fi
}

# run CODE COMMAND...: sets $verdict, leaves $TMPDIR/out and $TMPDIR/err.
run() {
    local code=$1 got
    shift
    "$@" >"$TMPDIR/out" 2>"$TMPDIR/err"
    got=$?
    verdict=
    [ "$got" = "$code" ] || verdict="exit code $got, not $code; "
}

# A pattern is, or is not, in $TMPDIR/out or $TMPDIR/err.
expect() { grep -qE -- "$1" "$TMPDIR/$2" || verdict="$verdict no /$1/ in $2; "; }
forbid() { if grep -qE -- "$1" "$TMPDIR/$2"; then verdict="$verdict /$1/ in $2; "; fi; }

finish() {
    echo "1..$number"
    exit $((failures > 0))
}
