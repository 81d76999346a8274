#!/bin/bash
# What the command says of itself, and that its manual says the same of each option of each subcommand.
set -u
. tests/cli/cases.sh
export LC_ALL=C
manual=docs/mixtune.1

section() { awk -v name="$1" '/^\.S[HS] / { inside = $0 == ".SH " name || $0 == ".SS " name; next } inside' "$manual"; } # name
# Long options that a text of the manual names; what stands behind .TP, as --help writes it: -o, --out=FOLDER.
named() { grep -oE '\\-\\-[a-z]([a-z0-9]|\\-)*' | sed 's|\\||g' | sort -u; }
described() { awk '/^\.TP/ { getline; print }' | sed -nE '/\\-\\-/ { s/^\.[A-Z]+ //; s/ ", " /,_/; s/ //g; s/,_/, /; s/\\f[A-Z]//g; s/\\//g; p }' | sort -u; }
listed() { sed -nE 's/^  (-., )?( {4})?(--[a-z0-9-]+(\[?=[A-Z,]+\]?)?).*/\1\3/p' "$TMPDIR/out" | sort -u; } # by --help
long() { sed -E 's/^-., //; s/\[?=.*//' | sort -u; }
same() { # two texts, what the second is of
    diff <(echo "$1") <(echo "$2") >"$TMPDIR/differ" || verdict+=" $3: $(grep '^[<>]' "$TMPDIR/differ" | tr '\n' ' '); "
}

run 0 "$MIXTUNE" --help
cp "$TMPDIR/out" "$TMPDIR/help"
same "$(head -n 2 "$TMPDIR/help")" 'Usage: mixtune COMMAND [OPTION...]' 'the first line'
[ ! -s "$TMPDIR/err" ] || verdict+=" words on standard error; "
expect '^  sweep +measure every configuration for the layers of a model$' out
expect '^device, 75 interrupted \(the same command goes on from there\)\.$' out
for word in -h help; do
    run 0 "$MIXTUNE" $word
    cmp -s "$TMPDIR/out" "$TMPDIR/help" || verdict+=" other words for $word; "
done
run 64 "$MIXTUNE"
cmp -s "$TMPDIR/err" "$TMPDIR/help" || verdict+=" other words without a command; "
no_results
result "mixtune --help, and the same where there is no command"

for word in --version -V; do
    run 0 "$MIXTUNE" $word
    same "$(cat "$TMPDIR/out")" "$(sed -n 's/^#define MIXTUNE_VERSION "\(.*\)"$/\1/p' tuner/options.h)" "the version by $word"
done
result "the version"

commands=$(awk '/^  [a-z]/ { print $1 }' "$TMPDIR/help" | sort)
[ "$(wc -l <<<"$commands")" -ge 11 ] || verdict+=" too few commands; "
same "$commands" "$(section COMMANDS | awk '/^\.TP/ { getline; print $2 }' | sort)" "the manual's list"
same "$commands" "$(sed -n 's/^\.SS //p' "$manual" | sort)" "the manual's sections"
same "$(sed -n '/Exit codes/,$p' "$TMPDIR/help" | grep -oE '\b[0-9]+ ' | tr -d ' ' | sort)" "$(section 'EXIT STATUS' | sed -nE 's/^([0-9]+)\|.*/\1/p' | sort)" "exit codes"
result "the manual has the commands and exit codes of the help"

shared=$(for name in 'COMMON OPTIONS' 'WORK OPTIONS' 'SELECTION OPTIONS'; do section "$name" | described; done)
always=$'--help\n--usage\n--version'
for command in $commands; do
    run 0 "$MIXTUNE" "$command" --help
    [ ! -s "$TMPDIR/err" ] || verdict+=" words on standard error; "
    [[ $(head -n 1 "$TMPDIR/out") == "Usage: mixtune $command [OPTION...]"* ]] || verdict+=" the first line is $(head -n 1 "$TMPDIR/out"); "
    same "$(listed | long)" "$( (section "$command" | named && echo "$always") | sort -u)" "options, < of the help and > of the manual"
    same '' "$(comm -23 <(section "$command" | described) <(listed))" "described otherwise than in the help"
    same '' "$(comm -23 <(listed | grep -vE -- '--(help|usage|version)') <( (section "$command" | described && echo "$shared") | sort -u))" "not described"
    listed >>"$TMPDIR/all"
    result "each option of $command is in the manual, and no other"
done

same "$always" "$(section 'COMMON OPTIONS' | sed '/^\.TP/,$d' | named)" "what every command has"
same '' "$(comm -13 <(sort -u "$TMPDIR/all") <(sort -u <<<"$shared"))" "described for commands that do not have it"
result "what the manual describes for several commands, some have"
finish
