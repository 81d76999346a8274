#!/bin/bash
# What db/shipped/ holds can be read, was measured, and says nothing of the machine that it is from.
# shellcheck source=tests/cli/cases.sh
. tests/cli/cases.sh

for db in db/shipped/*.db; do
    run 0 "$MIXTUNE" merge --quiet --into "$TMPDIR/all.db" "$db" # checks each row
    run 0 "$MIXTUNE" show --quiet --db "$TMPDIR/all.db" --json
    [ "$(wc -l <"$TMPDIR/out")" -ge 100 ] || verdict="$verdict only $(wc -l <"$TMPDIR/out") winners; "
    forbid '"origin":"modelled"' out
    [ "$(sqlite3 "$TMPDIR/all.db" "SELECT count(*) FROM run WHERE command LIKE '%/%'")" = 0 ] || verdict="$verdict a command holds a path; "
    result "$(basename "$db"): whole, measured, winners"
    rm -f "$TMPDIR/all.db"*
done
finish
