#!/bin/bash
# Databases and T4 files joined by `mixtune merge`, T4 by `mixtune show --format t4`, and JSON lines on standard output.
# shellcheck disable=SC2015,SC2016,SC2054,SC2317 # A && B || { C; }, scripts in quotes, commas, functions called by name
set -u
: "${TMPDIR:=/tmp}"
: "${MIXTUNE:=build/mixtune}"
work=$(mktemp -d "$TMPDIR/merge.XXXXXX")
trap 'rm -rf "$work"' EXIT
export MIXTUNE_LOG=info
number=0
failures=0

check() { # name, command...: the case is good when the command is
    number=$((number + 1))
    if "${@:2}" >"$work/log" 2>&1; then
        echo "ok $number - $1"
    else
        failures=$((failures + 1))
        echo "not ok $number - $1"
        sed 's/^/# /' "$work/log"
    fi
}

run() { # wanted exit code, arguments...: leaves $work/out and $work/err
    local want=$1 got
    shift
    "$MIXTUNE" "$@" >"$work/out" 2>"$work/err"
    got=$?
    [ "$got" = "$want" ] || { echo "exit code $got, not $want: mixtune $*"; cat "$work/err"; return 1; }
}

sentence() { # wanted exit code, words of the sentence separated by |, arguments...: one line on standard error, nothing on standard output
    local word
    run "$1" "${@:3}" || return 1
    if [ "$(wc -l <"$work/err")" != 1 ] || [ -s "$work/out" ]; then
        cat "$work/err" "$work/out"
        return 1
    fi
    while read -r -d '|' word; do
        grep -qF -- "$word" "$work/err" || { echo "no '$word':"; cat "$work/err"; return 1; }
    done <<<"$2|"
}

json_lines() { # file, lines at the least: each line is one JSON object
    local lines
    lines=$(wc -l <"$1")
    [ "$lines" -ge "$2" ] && [ "$(sqlite3 :memory: "SELECT count(*) = $lines AND sum(type = 'object') = $lines FROM
        json_each('[' || replace(rtrim(readfile('$1'), char(10)), char(10), ',') || ']')")" = 1 ] ||
        { echo "not $2 lines or more of one object each:"; cat "$1"; return 1; }
}

rows_of() { # every row of every table, sorted
    local table
    for table in device environment run layer config knob measurement; do
        sqlite3 "$1" ".mode quote" "SELECT '$table', * FROM $table"
    done | LC_ALL=C sort
}
same_rows() { # two databases
    rows_of "$1" >"$work/left" && rows_of "$2" >"$work/right" && [ -s "$work/left" ] && cmp "$work/left" "$work/right"
}

sweep() { # database, shape, further options
    "$MIXTUNE" sweep --device soft:a100-sxm-80g --quick --quiet --max-configs 1 --db "$1" --shape "$2" "${@:3}"
}

sweep_in_json() {
    sweep "$work/a.db" 8,64,128 --json >"$work/out" && json_lines "$work/out" 1 || return 1
    grep -qF '"origin":"modelled"' "$work/out" && sweep "$work/b.db" 17,200,300 --json >"$work/out" && json_lines "$work/out" 1
}

other_commands_in_json() {
    local each=(--device soft:a100-sxm-80g --quiet --json --shape 8,64,128)
    run 0 verify "${each[@]}" && json_lines "$work/out" 2 || return 1
    run 0 bench --quick "${each[@]}" && json_lines "$work/out" 2 || return 1
    run 0 info --json --quiet --device soft:a100-sxm-80g && json_lines "$work/out" 1 || return 1
    run 0 show --json --quiet --db "$work/a.db" --all && json_lines "$work/out" 2 || return 1
    run 0 export --json --quiet --db "$work/a.db" --out "$work/a.mixtune" && json_lines "$work/out" 1 || return 1
    run 0 merge --json --into "$work/json.db" "$work/a.db" && json_lines "$work/out" 1
}

any_order_any_number_of_times() {
    run 0 merge --into "$work/all.db" "$work/a.db" "$work/b.db" || return 1
    grep -q 'added \([0-9]*\) of the \1 measurements and 2 of the 2 runs in 2 files' "$work/out" || { cat "$work/out"; return 1; }
    run 0 merge --into "$work/other.db" "$work/b.db" && run 0 merge --into "$work/other.db" "$work/a.db" &&
        same_rows "$work/all.db" "$work/other.db" || return 1
    run 0 merge --into "$work/all.db" "$work/b.db" "$work/other.db" "$work/a.db" && grep -q 'added 0 of' "$work/out" &&
        same_rows "$work/all.db" "$work/other.db"
}

# The winners of the whole are those of its parts.
winners_stay() {
    run 0 show --db "$work/a.db" --format csv -q && cp "$work/out" "$work/winners" &&
        run 0 show --db "$work/b.db" --format csv -q && tail -n +2 "$work/out" >>"$work/winners" || return 1
    run 0 show --db "$work/all.db" --format csv -q && diff <(sort "$work/winners") <(sort "$work/out")
}

corrupt_source() {
    cp "$work/b.db" "$work/bad.db" && cp "$work/a.db" "$work/target.db" || return 1
    sqlite3 "$work/bad.db" "UPDATE measurement SET median_ns = median_ns / 2, low_ns = 0"
    sqlite3 "$work/bad.db" "PRAGMA wal_checkpoint(TRUNCATE)" >"$work/null"
    cp "$work/target.db" "$work/before.db" && cp "$work/bad.db" "$work/bad-before.db" || return 1
    sentence 1 'nothing was merged|bad.db|not what its key says' merge --into "$work/target.db" "$work/b.db" "$work/bad.db" &&
        cmp "$work/target.db" "$work/before.db" && cmp "$work/bad.db" "$work/bad-before.db" || return 1
    sentence 1 'bad.db' merge --into "$work/new.db" "$work/b.db" "$work/bad.db" && [ ! -e "$work/new.db" ]
}

full_disk() {
    mkdir -p "$work/small"
    # There is room for a.db and the files beside it, and not for four hundred measurements more.
    SIZE=300k unshare -rm bash -c '
        mount -t tmpfs -o size=$SIZE tmpfs "$2" && cp "$3" "$2/t.db" || exit 1
        "$1" show --db "$2/t.db" --format csv -q >"$2/../before" || exit 1
        "$1" merge --into "$2/t.db" "$4"; code=$?
        "$1" show --db "$2/t.db" --format csv -q >"$2/../after" || exit 2
        [ "$code" = 1 ] || exit 3' - "$MIXTUNE" "$work/small" "$work/a.db" "$work/many.json" >"$work/out" 2>"$work/err" ||
        { echo "exit code $?"; cat "$work/out" "$work/err"; return 1; }
    grep -q 'nothing was merged.*full' "$work/err" && cmp "$work/before" "$work/after"
}

t4_and_back() {
    run 0 show --db "$work/all.db" --format t4 -q && cp "$work/out" "$work/all.json" || return 1
    [ "$(sqlite3 :memory: "SELECT json_array_length(readfile('$work/all.json'), '\$.results')")" = \
        "$(sqlite3 "$work/all.db" "SELECT count(*) FROM measurement")" ] || return 1
    run 0 merge --into "$work/again.db" "$work/all.json" && same_rows "$work/all.db" "$work/again.db" || return 1
    run 0 merge --into "$work/again.db" "$work/all.json" "$work/a.db" && grep -q 'added 0 of' "$work/out"
}

# Parts of a database in T4 are parts of it when they are read again, and together they are the whole.
t4_in_parts() {
    run 0 show --db "$work/all.db" --format t4 -q --m 8 && cp "$work/out" "$work/8.json" &&
        run 0 show --db "$work/all.db" --format t4 -q --m 17 && cp "$work/out" "$work/17.json" || return 1
    run 0 merge --into "$work/part.db" "$work/8.json" || return 1
    [ "$(sqlite3 "$work/part.db" "SELECT DISTINCT m FROM measurement")" = 8 ] || return 1
    run 0 merge --into "$work/part.db" "$work/17.json" && same_rows "$work/part.db" "$work/all.db"
}

# As many measurements as it takes: times that differ, of the runs that are there.
make_many() {
    sqlite3 :memory: "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 400),
        file(j) AS (SELECT json(readfile('$work/all.json')))
        SELECT json_set(j, '\$.results', (SELECT json_group_array(json_set(json_extract(j, '\$.results[0]'), '\$.timestamp',
            printf('2026-01-01T00:00:00.%09dZ', i))) FROM n)) FROM file" >"$work/many.json"
}

broken_t4() {
    sed '5s/:/ /' "$work/all.json" >"$work/broken.json"
    sentence 1 'broken.json, line 5' merge --into "$work/new.db" "$work/broken.json" || return 1
    sed 's/"sm_count":[0-9]*,//' "$work/all.json" >"$work/broken.json"
    sentence 1 'metadata.mixtune.devices[0]|`sm_count`' merge --into "$work/new.db" "$work/broken.json" || return 1
    sed 's/"modelled"/"measured"/' "$work/all.json" >"$work/broken.json"
    sentence 1 'results[0]|never measured' merge --into "$work/new.db" "$work/broken.json" || return 1
    echo '{"schema_version": "1.0.0", "results": []}' >"$work/broken.json" # such as another tuner's
    sentence 1 'broken.json|metadata.mixtune' merge --into "$work/new.db" "$work/broken.json" || return 1
    [ ! -e "$work/new.db" ]
}

check 'sweep --json: one object a line' sweep_in_json
check 'the other commands with --json: one object a line' other_commands_in_json
check 'any order, any number of times, the same rows' any_order_any_number_of_times
check 'the winners of the whole are those of the parts' winners_stay
check 'a changed source is refused whole' corrupt_source
check 'T4 and back, without loss' t4_and_back
check 'T4 in parts' t4_in_parts
check 'broken T4 is a sentence' broken_t4
make_many
if unshare -rm bash -c 'mount -t tmpfs -o size=64k tmpfs "$1"' - "$work" 2>"$work/null"; then
    check 'a full disk leaves the target as it was' full_disk
else
    number=$((number + 1))
    echo "ok $number - a full disk leaves the target as it was # SKIP no right to mount a small file system"
fi
check 'a file that is not there' sentence 1 'none.db|No such file' merge --into "$work/new.db" "$work/none.db"
check 'a file that is something else' sentence 1 'test_merge.sh|neither a database' merge --into "$work/new.db" tests/cli/test_merge.sh
check 'an empty file' sentence 1 'null|empty' merge --into "$work/new.db" /dev/null
check 'no target is bad usage' sentence 64 '--into' merge "$work/a.db"
check 'no source is bad usage' sentence 64 'files to read' merge --into "$work/new.db"

echo "1..$number"
exit $((failures > 0))
