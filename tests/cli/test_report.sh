#!/bin/bash
# mixtune show, report and export on a database made here row by row: what they print is known in advance.
# shellcheck disable=SC2317 # the cases are called through check
set -u
: "${MIXTUNE:=build/mixtune}"
MIXTUNE=$(realpath "$MIXTUNE")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
db=$work/t.db
number=0
failed=0

check() { # name, command...: the case is good when the command is
    number=$((number + 1))
    if "${@:2}" >"$work/log" 2>&1; then
        echo "ok $number - $1"
    else
        echo "not ok $number - $1"
        sed 's/^/# /' "$work/log"
        failed=1
    fi
}

run() { # wanted exit code, arguments...: output in $work/out and $work/err
    local want=$1
    shift
    PATH=${only_path:-$PATH} "$MIXTUNE" "$@" >"$work/out" 2>"$work/err"
    local got=$?
    [ "$got" = "$want" ] || { echo "exit code $got, not $want: mixtune $*"; cat "$work/err"; return 1; }
}

sentence() { # wanted exit code, part of the sentence, arguments...
    run "$1" "${@:3}" || return 1
    grep -qF -- "$2" "$work/err" || { echo "no sentence with '$2':"; cat "$work/err"; return 1; }
    [ ! -s "$work/out" ] || { echo "results in spite of the failure:"; cat "$work/out"; return 1; }
}

has() { grep -qF -- "$2" "$1" || { echo "no '$2' in $1"; head -n 40 "$1" | cut -c 1-160; return 1; }; }
lacks() { ! grep -F -- "$2" "$1" | cut -c 1-160 | grep .; }

# Two devices, one of them software; two layers of a model and a bare shape that has no baseline. Each time is
# 1000 m + 100 config ns, on the software device 7 times that; a baseline is 3 times as slow as config 1.
make_database() {
    {
        echo "PRAGMA application_id = $((0x4d495854)); PRAGMA user_version = 1;"
        cat db/schema.sql
        cat <<'SQL'
INSERT INTO device VALUES (1, 'GPU-1', 'NVIDIA H100 80GB HBM3', 90, 132, 0), (2, 'GPU-2', 'A100-SXM-80G (software device, modelled times)', 80, 108, 1);
INSERT INTO environment VALUES (1, 13000, 1300, 'old', '', ''), (2, 13000, 1300, 'new', '', '');
INSERT INTO run VALUES (1, 1, 1, '', 1), (2, 1, 2, '', 2), (3, 2, 2, '', 3);
INSERT INTO layer VALUES (1, 'tiny', 'qkv', 1024, 512, 1), (2, 'tiny', 'gate_up', 2048, 512, 1), (3, '', '64x32', 64, 32, 1);
INSERT INTO config VALUES (1, 'sm80', 'stages=2,split_k=1'), (2, 'sm80', 'stages=3,split_k=1'), (3, 'f16', ''), (4, 'sm80', 'stages=9');
INSERT INTO knob VALUES (1, 'stages', 2), (2, 'stages', 3);
WITH run(r, d, slow) AS (VALUES (2, 1, 1), (3, 2, 7)), size(m) AS (VALUES (1), (16), (256)),
     way(c, s, f) AS (VALUES (1, 'w4a8', 1), (2, 'w4a8', 1), (1, 'w8a8', 1), (3, 'fp16', 3)),
     row AS (SELECT *, (1000.0 * m + 100 * (c % 3)) * f * slow AS ns FROM run, layer, size, way WHERE id < 3 OR c < 3)
INSERT INTO measurement
SELECT row_number() OVER (), r, id, c, m, 128, s, 'fp16', '', 'ok', '', iif(d = 1, 'measured', 'modelled'), 'cold', x'0000000000000000',
       ns, ns * 0.9, ns * 1.1, 0, 0, 0, 1000 + row_number() OVER ()
FROM row;
INSERT INTO measurement VALUES
    (9001, 1, 1, 1, 1, 128, 'w4a8', 'fp16', '', 'ok', '', 'measured', 'cold', x'0000000000000000', 1, 1, 1, 0, 0, 0, 1),
    (9002, 2, 1, 4, 1, 128, 'w4a8', 'fp16', '', 'wrong', 'y[3, 17] is 1.5 <and> not 2.5', 'measured', 'cold', NULL, NULL, NULL, NULL, 0, 0, 0, 2);
SQL
    } | sqlite3 "$db"
}

table_of_winners() {
    run 0 show --db "$db" --model tiny || return 1
    [ "$(grep -c MODELLED "$work/out")" = 1 ] || { echo "not one heading for modelled times"; return 1; }
    # Measured rows stand above that heading, modelled ones below.
    sed '/MODELLED/,$d' "$work/out" >"$work/above"
    sed '1,/MODELLED/d' "$work/out" >"$work/below"
    has "$work/out" "no speed-up of a real GPU" && lacks "$work/above" " modelled " && lacks "$work/below" " measured " &&
        [ "$(grep -c ' measured ' "$work/above")" = 12 ] && [ "$(grep -c ' modelled  ' "$work/below")" = 12 ]
}

csv_of_winners() {
    run 0 show --db "$db" --format csv --gpu h100 --layer qkv --m 16 --scheme w4a8 -q || return 1
    [ "$(wc -l <"$work/out")" = 2 ] || { cat "$work/out"; return 1; }
    has "$work/out" 'tiny,1,qkv,1024,512,16,w4a8,128,fp16,cold,16.1,14.49,17.71,f16,48.0,2.98136645962733,' &&
        has "$work/out" ',measured,NVIDIA H100 80GB HBM3,GPU-1,sm80,"stages=2,split_k=1",new'
}

json_is_one_object_a_line() {
    run 0 show --db "$db" --json -q || return 1
    [ "$(wc -l <"$work/out")" = 36 ] && [ "$(sqlite3 :memory: "SELECT sum(json_valid(value)) FROM
        (SELECT value FROM json_each('[' || replace(rtrim(readfile('$work/out'), char(10)), char(10), ',') || ']'))")" = 36 ]
}

everything() {
    run 0 show --db "$db" --all --format csv --model tiny --layer qkv --m 1 --gpu nvidia || return 1
    [ "$(wc -l <"$work/out")" = 7 ] && [ "$(grep -c ',stale,' "$work/out")" = 1 ] && has "$work/err" "1 older measurements"
}

failures() {
    run 0 show --db "$db" --failed || return 1
    has "$work/out" "y[3, 17] is 1.5 <and> not 2.5" && [ "$(wc -l <"$work/out")" = 3 ]
}

report() {
    run 0 report --db "$db" --out "$work/report" -q || return 1
    local kind origin file
    for origin in measured modelled; do
        for kind in speedup time winners; do
            for file in "$work"/report/*tiny*"$origin-$kind".svg; do
                has "$file" "$origin on " && has "$file" "($origin" || return 1
                [ "$origin" = modelled ] || lacks "$file" "modelled" || return 1
                [ "$origin" = measured ] || has "$file" "no speed-up of a real GPU" || return 1
            done
            for file in "$work"/report/*tiny*"$origin-$kind".png; do
                [ "$(head -c 4 "$file" | tail -c 3)" = PNG ] || { echo "$file is no picture"; return 1; }
            done
        done
    done
    [ "$(find "$work/report" -name '*-speedup.svg' | wc -l)" = 2 ] || { echo "a speed-up without a baseline was drawn"; return 1; }
    [ "$(find "$work/report" -name '*-time.svg' | wc -l)" = 4 ]
}

page_stands_alone() {
    local page=$work/report/index.html
    [ "$(grep -c 'src="data:image/svg+xml;base64,' "$page")" = 10 ] || { echo "not ten plots"; return 1; }
    ! grep -oE '(src|href)="[^d][^"]{0,40}' "$page" && has "$page" '&lt;and&gt;' && has "$page" 'class="modelled"' &&
        has "$page" 'GPU-2' && has "$page" 'fp16 baseline was recorded' && lacks "$page" '{{'
}

embedded_plots_are_whole() {
    local picture
    grep -o 'base64,[^"]*' "$work/report/index.html" | while IFS=, read -r _ picture; do
        echo "$picture" | base64 -d | sha256sum || exit 1
    done | sort >"$work/embedded"
    for picture in "$work"/report/*.svg; do
        sha256sum <"$picture"
    done | sort | diff "$work/embedded" -
}

# The plots' data against the table.
data_agree() {
    run 0 show --db "$db" --format csv --model tiny --gpu software -q || return 1
    awk -F, 'NR > 1 { print $3, $7, $6, $11, $16 }' "$work/out" | sort >"$work/table"
    awk -F, 'NR > 1 { print $1, $2, $5, $6, $10 }' "$work"/report/data/*tiny*modelled.csv | sort >"$work/plot"
    [ "$(wc -l <"$work/plot")" = 12 ] && diff "$work/table" "$work/plot"
}

# The scripts beside the data draw the same picture again.
scripts_run_again() {
    local script
    for script in "$work"/report/data/*measured-speedup.gp; do
        rm "$work/report/$(basename "$script" .gp).svg"
        (cd "$work/report" && gnuplot "data/$(basename "$script")") || return 1
        has "$work/report/$(basename "$script" .gp).svg" "measured on" || return 1
    done
}

without_gnuplot() {
    only_path=$work sentence 1 "install the package gnuplot-nox" report --db "$db" --out "$work/none" && [ ! -e "$work/none" ]
}

no_room_for_a_page() {
    : >"$work/file"
    sentence 1 "$work/file" report --db "$db" --out "$work/file/report" -q
}

two_types() {
    cp "$db" "$work/two.db"
    sqlite3 "$work/two.db" "UPDATE device SET name = 'NVIDIA L40S', software = 0 WHERE id = 2; UPDATE measurement SET origin = 'measured'"
    sentence 64 "choose with --gpu" export --db "$work/two.db" --out "$work/x" && has "$work/err" "NVIDIA L40S (108 SMs)"
}

# From a sweep to a bundle: every winner that show prints is an entry, with its configuration, time and an image.
swept_and_exported() {
    run 0 sweep --device soft:a100-sxm-80g --shape "1,64,128" --shape "9,64,128" --scheme w4a8 --quick --max-configs 3 \
        --db "$work/s.db" -q || return 1
    run 0 show --db "$work/s.db" --format csv -q || return 1
    cp "$work/out" "$work/winners.csv"
    run 0 export --db "$work/s.db" --out "$work/s.mixtune" -q || return 1
    has "$work/err" "modelled times" || return 1
    sqlite3 :memory: >"$work/same" <<SQL || return 1
ATTACH '$work/s.mixtune' AS b;
.import --csv $work/winners.csv w
SELECT count(*), sum(abs(e.expected_ns / 1000 - w.time_us) < 1e-6 AND e.config = w.config AND e.origin = 'modelled'
                     AND i.hash IS NOT NULL)
FROM w LEFT JOIN b.entry e ON e.m = w."M" AND e.kind = 'kernel' LEFT JOIN b.image i ON i.hash = e.image;
SELECT count(*) FROM b.fallback WHERE family IN ('sm80', 'quantize');
SQL
    printf '2|2\n2\n' | diff "$work/same" -
}

# What was tuned with other templates than those that are there now must not be shipped.
changed_templates() {
    cp -R templates "$work/templates" && echo "// changed" >>"$work/templates/gemm_sm80.cu" || return 1
    MIXTUNE_TEMPLATES=$work/templates sentence 1 "other kernel templates" export --db "$work/s.db" --out "$work/y" &&
        [ ! -e "$work/y" ]
}

make_database || { echo "Bail out! the database could not be made"; exit 1; }
check "winners as tables, measured and modelled apart" table_of_winners
check "winners as CSV, filtered" csv_of_winners
check "winners as JSON lines" json_is_one_object_a_line
check "--all also lists what is stale" everything
check "--failed gives the reasons" failures
check "report draws every plot and marks what is modelled" report
check "the page is self-contained" page_stands_alone
check "the page holds the plots as they are" embedded_plots_are_whole
check "plots and tables show the same numbers" data_agree
check "the gnuplot scripts of a report run by themselves" scripts_run_again
check "no gnuplot is a sentence" without_gnuplot
check "a folder that cannot be made is a sentence" no_room_for_a_page
check "no database is a sentence" sentence 1 "mixtune sweep" show --db "$work/none.db"
check "a file that is no database is a sentence" sentence 1 "not a database" show --db tests/cli/test_report.sh
check "nothing that fits is a sentence" sentence 1 "loosen the options" show --db "$db" --layer nose
check "an unknown format is bad usage" sentence 64 "table, json, csv" show --db "$db" --format xml
check "a bare word is bad usage" sentence 64 "takes options only" show --db "$db" winners
check "two types of GPU: export asks which" two_types
check "winners of other templates are not exported" sentence 1 "sweep again" export --db "$db" --out "$work/x"
check "a sweep's winners are the entries of its bundle" swept_and_exported
check "after a change of the templates nothing is exported" changed_templates
exit "$failed"
