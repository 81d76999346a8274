#!/bin/bash
# Lists that must agree: the subcommands, their files, help and man page; what lies in reports/ and what the program carries.
set -u
. tests/cli/cases.sh

# The commands that `mixtune --help` lists.
run 0 "$MIXTUNE" --help
mapfile -t commands < <(awk '/^  [a-z]+ /{ print $1 }' "$TMPDIR/out")
[ "${#commands[@]}" -ge 11 ] || verdict="$verdict only ${#commands[@]} commands; "
result '--help lists the commands'

# same NAME A B: the words of A and B are the same, in any order.
same() {
    local apart
    apart=$(comm -3 <(tr ' ' '\n' <<<"$2" | sort) <(tr ' ' '\n' <<<"$3" | sort) | tr -s '\t\n' ' ')
    verdict=
    [ -z "${apart// /}" ] || verdict="not in both:$apart"
    result "$1"
}

same 'each file of tuner/cmd/ is a command, and the other way round' "${commands[*]}" \
    "$(basename -s .c -a tuner/cmd/*.c | grep -vx main | xargs)"
same 'each command is in COMMANDS of the man page, and the other way round' "${commands[*]}" \
    "$(awk '/^\.SH/ { commands = /COMMANDS/ } commands && /^\.(B|SS) [a-z]+$/ && (last == ".TP" || /^\.SS/) { print $2 } { last = $0 }' docs/mixtune.1 | xargs)"

for name in "${commands[@]}"; do
    run 0 "$MIXTUNE" "$name" --help
    expect "^Usage: mixtune $name " out
    [ ! -s "$TMPDIR/err" ] || verdict="$verdict something on standard error; "
    result "$name --help"
done

same 'each file of reports/ is carried by the program' "$(echo reports/*)" \
    "$(grep -rhoE 'EMBED_FILE\([a-z_0-9]+, "reports/[^"]*"\)' tuner | cut -d'"' -f2 | xargs)"
finish
