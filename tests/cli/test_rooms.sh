#!/bin/bash
# The order of the rooms (tests/lint/rooms) and its check: a scratch tree with one file in each room includes, in turn, a file of
# every room, and the check must complain of exactly those that stand behind.
set -u
# shellcheck source=tests/cli/cases.sh
. tests/cli/cases.sh
root=$PWD
tree=$TMPDIR/tree
lint() { # file...: the check, as `make lint` runs it
    (cd "$tree" && awk -f "$root/tests/lint/includes.awk" "$root/tests/lint/rooms" "$@")
}

# The lines of the list, each with the words of other lines put in: who stands before whom, worked out apart from the check.
declare -A line_of
lines=()
while read -r name rooms; do
    [[ -z $name || $name == \#* ]] && continue
    expanded=
    for word in $rooms; do expanded+=" ${line_of[$word]-$word}"; done
    line_of[$name]=$expanded
    lines+=("$expanded")
done <tests/lint/rooms
mapfile -t rooms < <(printf '%s\n' "${line_of[@]}" | tr -s ' ' '\n' | grep . | sort -u)

file_in() { # room: a header of it
    case $1 in *.h) echo "$1" ;; *) echo "$1/subject.h" ;; esac
}
for room in "${rooms[@]}"; do
    mkdir -p "$tree/$(dirname "$(file_in "$room")")"
    : >"$tree/$(file_in "$room")"
done

allowed() { # from to: is there a line in which `to` does not stand behind `from`?
    local line word seen
    [ "$1" = "$2" ] && return
    for line in "${lines[@]}"; do
        seen=
        for word in $line; do
            [ "$word" = "$2" ] && seen=1
            [ "$word" = "$1" ] && [ -n "$seen" ] && return
        done
    done
    return 1
}

verdict=
pairs=0
forbidden=0
for from in "${rooms[@]}"; do
    for to in "${rooms[@]}"; do
        pairs=$((pairs + 1))
        file=$(file_in "$from")
        echo "#include \"$(file_in "$to")\"" >"$tree/$file"
        lint "$file" >"$TMPDIR/out" 2>"$TMPDIR/err"
        code=$?
        if allowed "$from" "$to"; then
            [ $code = 0 ] || verdict="$verdict $from may include $to; "
        else
            forbidden=$((forbidden + 1))
            [ $code = 1 ] && grep -q "^$file:1: #include .* goes the wrong way: $from may include" "$TMPDIR/out" ||
                verdict="$verdict $from may not include $to; "
        fi
        : >"$tree/$file"
    done
done
[ $forbidden -gt 200 ] || verdict="$verdict only $forbidden of $pairs pairs are forbidden"
result "of $pairs pairs of rooms the $forbidden forbidden ones are seen"

mkdir -p "$tree/runtime/attic" "$tree/runtime/softgpu"
echo '#include "runtime/base/subject.h"' | tee "$tree/runtime/attic/x.h" >"$tree/runtime/softgpu/x.h"
run 1 lint runtime/attic/x.h runtime/softgpu/x.h
expect 'runtime/attic/x.h:1: .* stands in no room' out
expect 'runtime/softgpu/x.h:1: .* stands in no room' out
result "a file outside of the rooms is seen"

echo '#include "nowhere.h"' >"$tree/tuner/subject.h"
run 1 lint tuner/subject.h
expect 'tuner/subject.h:1: #include "nowhere.h" is not found' out
result "an include of nothing is seen"

finish
