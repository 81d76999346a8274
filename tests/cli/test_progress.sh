#!/bin/bash
# The progress of a long command: a bar on a terminal, which fits into its width, and a line at the end everywhere.
set -u
export MIXTUNE_LOG=info
. tests/cli/cases.sh

cat >"$TMPDIR/space.yaml" <<'YAML'
family: sm80
values:
  tile_n: [64]
  tile_m: [8, 16]
  stages: [3]
  split_k: [1, 2]
YAML
# Enough for many tenths of a second, after each of which a bar may be drawn.
# shellcheck disable=SC2054 # commas inside values
sweep=("$MIXTUNE" sweep --device soft:a100-sxm-80g --quick --space "$TMPDIR/space.yaml" --shape 200,300 --shape 100,1000
    --m 1,2,4,8,16,17,33 --scheme w4a8,w8a8)
escape=$'\e'

# on_terminal COLUMNS COMMAND...: what it writes to a terminal of so many columns, in $TMPDIR/out; its results are in $TMPDIR/table.
on_terminal() {
    local columns=$1
    shift
    run "${code:-0}" env TERM=xterm script -qec "stty cols $columns; $(printf '%q ' "$@") >$TMPDIR/table" /dev/null
}
# The bars of a verb, without the escapes.
bars() { tr '\r' '\n' <"$TMPDIR/out" | grep -E "^$escape\[K($escape\[1m)?$1($escape\[0m)? \[" | sed "s/$escape\[[0-9]*[mK]//g"; }
# Each has as many marks as are due, none counts back, and none is wider than COLUMNS; at least one is there.
check_bars() { # verb, columns, most cells
    bars "$1" >"$TMPDIR/bars"
    awk -v columns="$2" -v most="$3" '
        {
            split($0, part, /[][]/)
            cells = length(part[2])
            split(part[3], of, /[ \/,]/) # " 12/34, 3 s left"
            due = int((of[2] * cells + of[3] - 1) / of[3])
            marks = gsub(/#/, "#", part[2])
            if (marks != due || part[2] !~ /^#*\.*$/) print "not " due " marks: " $0
            if (of[2] <= before || of[2] > of[3]) print "after " before ": " $0
            if (cells < 4 || cells > most) print cells " cells: " $0
            if (length($0) >= columns) print "too wide: " $0
            before = of[2]
        }
        END { if (!NR) print "no bar" }' "$TMPDIR/bars" >"$TMPDIR/odd"
    [ ! -s "$TMPDIR/odd" ] || verdict+=" $(head -n 3 "$TMPDIR/odd"); "
}

on_terminal 120 env -u NO_COLOR "${sweep[@]}" --db "$TMPDIR/wide"
check_bars sweep 120 24
expect '^sweep \[[#.]{24}\] [0-9]+/[0-9]+, [0-9]+ s left(, (200x300|100x1000) m=[0-9]+, best [0-9.]+ us)?$' bars
expect ', best [0-9.]+ us$' bars
expect "$escape\[1msweep$escape\[0m \[" out
tr '\r' '\n' <"$TMPDIR/out" | tail -n 5 >"$TMPDIR/end"
expect "^$escape\[Ksweep: ([0-9]+) of \1 in [0-9.]+ s$" end
expect '^200x300 .* tile_n=' table
result 'a bar on a terminal, with what is best so far, and a line in its place at the end'

on_terminal 120 env NO_COLOR=1 "${sweep[@]}" --db "$TMPDIR/plain"
check_bars sweep 120 24
forbid "$escape\[[0-9]*m" out
result 'NO_COLOR'

# The words behind the bar first, then the bar itself make room.
on_terminal 60 "${sweep[@]}" --db "$TMPDIR/narrow"
check_bars sweep 60 24
forbid 'best' bars
result 'a narrow terminal has no room for what is best'
on_terminal 36 "${sweep[@]}" --db "$TMPDIR/narrower"
check_bars sweep 36 12
result 'a narrower one has a shorter bar'

mkdir "$TMPDIR/broken"
sed 's/acc\[i\]\[j\]\[r\] + b/acc[i][j][r] * 1.01f + b/' templates/tile/epilogue.cuh >"$TMPDIR/epilogue.cuh"
cp -R templates/. "$TMPDIR/broken"
mv "$TMPDIR/epilogue.cuh" "$TMPDIR/broken/tile"
code=1 on_terminal 120 env -u NO_COLOR MIXTUNE_TEMPLATES="$TMPDIR/broken" "${sweep[@]}" --db "$TMPDIR/failed"
check_bars sweep 120 24
expect '^sweep \[[#.]{24}\] [0-9]+/[0-9]+, [0-9]+ failed, [0-9]+ s left' bars
expect "/[0-9]+, $escape\[31m[0-9]+ failed$escape\[0m, " out
expect 'sweep: [0-9]+ of [0-9]+ in [0-9.]+ s, [0-9]+ failed' out
result 'what failed is counted, in red'

on_terminal 120 "${sweep[@]}" --quiet --db "$TMPDIR/quiet"
[ ! -s "$TMPDIR/out" ] || verdict+=" words: $(head -c 200 "$TMPDIR/out"); "
result '--quiet has none of it'

run 0 "${sweep[@]}" --db "$TMPDIR/file"
forbid "[$escape$(printf '\r')]" err
expect '^sweep: ([0-9]+) of \1 in [0-9.]+ s$' err
result 'nothing but lines where there is no terminal'
on_terminal 120 env -u TERM "${sweep[@]}" --db "$TMPDIR/dumb"
forbid "$escape" out
result 'nor where nobody knows what the terminal can do'
finish
