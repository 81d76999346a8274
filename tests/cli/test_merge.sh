#!/bin/bash
# Databases and T4 files joined by `mixtune merge`, T4 by `mixtune show --format t4`, and JSON lines on standard output.
# shellcheck disable=SC2016,SC2054,SC2317 # scripts in quotes, commas, a function called by name
set -u
export MIXTUNE_LOG=info
. tests/cli/cases.sh
work=$TMPDIR

json_lines() { # lines at the least: each line of the output is one JSON object
    local lines
    lines=$(wc -l <"$work/out")
    [ "$lines" -ge "$1" ] || verdict+=" $lines lines, not $1 or more; "
    [ "$(sqlite3 :memory: "SELECT count(*) = $lines AND sum(type = 'object') = $lines FROM
        json_each('[' || replace(rtrim(readfile('$work/out'), char(10)), char(10), ',') || ']')")" = 1 ] || verdict+=" not one object a line; "
}

rows_of() { # every row of every table, sorted
    local table
    for table in device environment run layer config knob measurement; do
        sqlite3 "$1" ".mode quote" "SELECT '$table', * FROM $table"
    done | LC_ALL=C sort
}
same_rows() { # two databases
    rows_of "$1" >"$work/left"
    rows_of "$2" >"$work/right"
    [ -s "$work/left" ] || verdict+=" no rows in $1; "
    cmp -s "$work/left" "$work/right" || verdict+=" other rows in $2 than in $1; "
}
same_file() { cmp -s "$1" "$2" || verdict+=" $1 is not $2; "; }
absent() { [ ! -e "$1" ] || verdict+=" $1 was made; "; }

sweep() { # database, shape, further options
    "$MIXTUNE" sweep --device soft:a100-sxm-80g --quick --quiet --max-configs 1 --db "$1" --shape "$2" "${@:3}"
}
merge() { # exit code, target, sources
    run "$1" "$MIXTUNE" merge --into "$work/$2" "${@:3}"
}
refused() { # words of the sentence, target, sources
    sentence 1 "$1" "$MIXTUNE" merge --into "$work/$2" "${@:3}"
    no_results
}

run 0 sweep "$work/a.db" 8,64,128 --json
json_lines 1
expect '"origin":"modelled"' out
run 0 sweep "$work/b.db" 17,200,300 --json
json_lines 1
result 'sweep --json: one object a line'

each=(--device soft:a100-sxm-80g --quiet --json --shape 8,64,128)
run 0 "$MIXTUNE" verify "${each[@]}"
json_lines 2
run 0 "$MIXTUNE" bench --quick "${each[@]}"
json_lines 2
run 0 "$MIXTUNE" info --json --quiet --device soft:a100-sxm-80g
json_lines 1
run 0 "$MIXTUNE" show --json --quiet --db "$work/a.db" --all
json_lines 2
run 0 "$MIXTUNE" export --json --quiet --db "$work/a.db" --out "$work/a.mixtune"
json_lines 1
run 0 "$MIXTUNE" merge --json --into "$work/json.db" "$work/a.db"
json_lines 1
result 'the other commands with --json: one object a line'

merge 0 all.db "$work/a.db" "$work/b.db"
expect 'added ([0-9]*) of the \1 measurements and 2 of the 2 runs in 2 files' out
merge 0 other.db "$work/b.db"
merge 0 other.db "$work/a.db"
same_rows "$work/all.db" "$work/other.db"
merge 0 all.db "$work/b.db" "$work/other.db" "$work/a.db"
expect 'added 0 of' out
same_rows "$work/all.db" "$work/other.db"
result 'any order, any number of times, the same rows'

run 0 "$MIXTUNE" show --db "$work/a.db" --format csv -q
cp "$work/out" "$work/winners"
run 0 "$MIXTUNE" show --db "$work/b.db" --format csv -q
tail -n +2 "$work/out" >>"$work/winners"
run 0 "$MIXTUNE" show --db "$work/all.db" --format csv -q
[ "$(wc -l <"$work/out")" -ge 3 ] || verdict+=" too few winners; "
same_file <(sort "$work/winners") <(sort "$work/out")
result 'the winners of the whole are those of the parts'

cp "$work/b.db" "$work/bad.db"
cp "$work/a.db" "$work/target.db"
sqlite3 "$work/bad.db" "UPDATE measurement SET median_ns = median_ns / 2, low_ns = 0"
sqlite3 "$work/bad.db" "PRAGMA wal_checkpoint(TRUNCATE)" >"$work/null"
cp "$work/target.db" "$work/before.db"
cp "$work/bad.db" "$work/bad-before.db"
refused 'nothing was merged|bad.db|not what its key says' target.db "$work/b.db" "$work/bad.db"
same_file "$work/target.db" "$work/before.db"
same_file "$work/bad.db" "$work/bad-before.db"
refused 'bad.db' new.db "$work/b.db" "$work/bad.db"
absent "$work/new.db"
result 'a changed source is refused whole'

t4() { # name of the file, options
    run 0 "$MIXTUNE" show --db "$work/all.db" --format t4 -q "${@:2}"
    cp "$work/out" "$work/$1"
}
t4 all.json
[ "$(sqlite3 :memory: "SELECT json_array_length(readfile('$work/all.json'), '\$.results')")" = \
    "$(sqlite3 "$work/all.db" "SELECT count(*) FROM measurement")" ] || verdict+=" not every measurement is in the file; "
merge 0 again.db "$work/all.json"
same_rows "$work/all.db" "$work/again.db"
merge 0 again.db "$work/all.json" "$work/a.db"
expect 'added 0 of' out
result 'T4 and back, without loss'

# Parts of a database in T4 are parts of it when they are read again, and together they are the whole.
t4 8.json --m 8
t4 17.json --m 17
merge 0 part.db "$work/8.json"
[ "$(sqlite3 "$work/part.db" "SELECT DISTINCT m FROM measurement")" = 8 ] || verdict+=" other batch sizes than 8; "
merge 0 part.db "$work/17.json"
same_rows "$work/part.db" "$work/all.db"
result 'T4 in parts'

sed '5s/:/ /' "$work/all.json" >"$work/broken.json"
refused 'broken.json, line 5' new.db "$work/broken.json"
sed 's/"sm_count":[0-9]*,//' "$work/all.json" >"$work/broken.json"
refused 'metadata.mixtune.devices[0]|`sm_count`' new.db "$work/broken.json"
sed 's/"modelled"/"measured"/' "$work/all.json" >"$work/broken.json"
refused 'results[0]|never measured' new.db "$work/broken.json"
echo '{"schema_version": "1.0.0", "results": []}' >"$work/broken.json" # such as another tuner's
refused 'broken.json|metadata.mixtune' new.db "$work/broken.json"
absent "$work/new.db"
result 'broken T4 is a sentence'

# As many measurements as it takes: times that differ, of the runs that are there.
sqlite3 :memory: "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 400),
    file(j) AS (SELECT json(readfile('$work/all.json')))
    SELECT json_set(j, '\$.results', (SELECT json_group_array(json_set(json_extract(j, '\$.results[0]'), '\$.timestamp',
        printf('2026-01-01T00:00:00.%09dZ', i))) FROM n)) FROM file" >"$work/many.json"
mkdir "$work/small"
if unshare -rm bash -c 'mount -t tmpfs -o size=64k tmpfs "$1"' - "$work/small" 2>"$work/null"; then
    # There is room for a.db and the files beside it, and not for four hundred measurements more.
    SIZE=300k run 0 unshare -rm bash -c '
        mount -t tmpfs -o size=$SIZE tmpfs "$2" && cp "$3" "$2/t.db" || exit 1
        "$1" show --db "$2/t.db" --format csv -q >"$2/../before" || exit 1
        "$1" merge --into "$2/t.db" "$4"; code=$?
        "$1" show --db "$2/t.db" --format csv -q >"$2/../after" || exit 2
        [ "$code" = 1 ] || exit 3' - "$MIXTUNE" "$work/small" "$work/a.db" "$work/many.json"
    expect 'nothing was merged.*full' err
    same_file "$work/before" "$work/after"
    result 'a full disk leaves the target as it was'
else
    skip 'a full disk leaves the target as it was' 'no right to mount a small file system'
fi
refused 'none.db|No such file' new.db "$work/none.db"
result 'a file that is not there'
refused 'test_merge.sh|neither a database' new.db tests/cli/test_merge.sh
result 'a file that is something else'
refused 'null|no file' new.db /dev/null
: >"$TMPDIR/nothing"
refused 'nothing|empty' new.db "$TMPDIR/nothing"
result 'an empty file'
sentence 64 '--into' "$MIXTUNE" merge "$work/a.db"
result 'no target is bad usage'
sentence 64 'files to read' "$MIXTUNE" merge --into "$work/new.db"
result 'no source is bad usage'
finish
