#!/bin/bash
# mixtune show, report and export on a database made here row by row: what they print is known in advance.
set -u
. tests/cli/cases.sh
work=$TMPDIR
db=$work/t.db

show() { run 0 "$MIXTUNE" show --db "$db" "$@"; }
lines() { [ "$(wc -l <"$work/out")" = "$1" ] || verdict+=" $(wc -l <"$work/out") lines, not $1; "; }
# refused CODE TEXT ARGUMENTS...: its last word is a sentence with the text, and there are no results.
refused() {
    run "$1" env PATH="${only_path:-$PATH}" "$MIXTUNE" "${@:3}"
    tail -n 1 "$work/err" >"$work/sentence"
    has "$work/sentence" "$2"
    no_results
}
# A text is, or is not, in a file.
has() { grep -qF -- "$2" "$1" || verdict+=" no '$2' in $(basename "$1"): $(head -c 200 "$1"); "; }
lacks() { ! grep -qF -- "$2" "$1" || verdict+=" '$2' in $(basename "$1"); "; }
same() { diff "$1" "$2" >>"$work/err" || verdict+=" $1 is not $2; "; }

# Two devices, one of them software; two layers of a model and a bare shape that has no baseline. Each time is
# 1000 m + 100 config ns, on the software device 7 times that; a baseline is 3 times as slow as config 1.
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
} | sqlite3 "$db" || exit 1

show --model tiny
[ "$(grep -c MODELLED "$work/out")" = 1 ] || verdict+=" not one heading for modelled times; "
# Measured rows stand above that heading, modelled ones below.
sed '/MODELLED/,$d' "$work/out" >"$work/above"
sed '1,/MODELLED/d' "$work/out" >"$work/below"
has "$work/out" "no speed-up of a real GPU"
lacks "$work/above" " modelled "
lacks "$work/below" " measured "
[ "$(grep -c ' measured ' "$work/above")" = 12 ] || verdict+=" not 12 measured rows; "
[ "$(grep -c ' modelled  ' "$work/below")" = 12 ] || verdict+=" not 12 modelled rows; "
result "winners as tables, measured and modelled apart"

show --format csv --gpu h100 --layer qkv --m 16 --scheme w4a8 -q
lines 2
has "$work/out" 'tiny,1,qkv,1024,512,16,w4a8,0,128,fp16,cold,16100.0,14490.0,17710.0,,f16,48000.0,,,,,2.98136645962733,'
has "$work/out" ',measured,NVIDIA H100 80GB HBM3,GPU-1,sm80,"stages=2,split_k=1",new'
result "winners as CSV, filtered"

show --json -q
lines 36
[ "$(sqlite3 :memory: "SELECT sum(json_valid(value)) FROM
    (SELECT value FROM json_each('[' || replace(rtrim(readfile('$work/out'), char(10)), char(10), ',') || ']'))")" = 36 ] ||
    verdict+=" not 36 objects; "
result "winners as JSON lines"

show --all --format csv --model tiny --layer qkv --m 1 --gpu nvidia
lines 7
[ "$(grep -c ',stale,' "$work/out")" = 1 ] || verdict+=" not one stale row; "
has "$work/err" "1 older measurements"
result "--all also lists what is stale"

# on_terminal COLUMNS COMMAND...: its standard output is a terminal.
# shellcheck disable=SC2317 # called by name
on_terminal() {
    python3 -c 'import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))' \
        sh -c "stty cols $1; exec \"\$@\" 2>/dev/null" "$@" </dev/null | tr -d '\r'
}
fits() { # COLUMNS: no line of the table is wider, and the line below it says that it is not whole
    awk -v most="$1" '/^layer|^model  /, /^To fit/ { if (length > most && !/^To fit/) print }' "$work/out" >"$work/wide"
    [ ! -s "$work/wide" ] || verdict+=" wider than $1: $(head -1 "$work/wide"); "
    has "$work/out" "To fit $1 columns, left out: "
}
run 0 on_terminal 60 "$MIXTUNE" show --db "$db" --gpu h100
LC_ALL=C.UTF-8 fits 60
run 0 on_terminal 200 env COLUMNS=80 "$MIXTUNE" show --db "$db" --gpu h100
LC_ALL=C.UTF-8 fits 80
run 0 on_terminal 500 "$MIXTUNE" show --db "$db" --gpu h100
cp "$work/out" "$work/broad"
show --gpu h100
same "$work/broad" "$work/out"
COLUMNS=40 show --gpu h100
same "$work/broad" "$work/out"
for format in json csv; do
    show --gpu h100 --format $format
    cp "$work/out" "$work/whole"
    run 0 on_terminal 40 "$MIXTUNE" show --db "$db" --gpu h100 --format $format
    same "$work/whole" "$work/out"
done
result "a table fits its terminal, and nothing else is cut"

show --failed
has "$work/out" "y[3, 17] is 1.5 <and> not 2.5"
lines 3
result "--failed gives the reasons"
# That nothing failed is an answer, in every format; that nothing matches, or only other rows, is a failure.
for format in table json csv t4; do
    show --failed --model tiny --m 16 --format $format
    has "$work/err" "none of the 16 candidates that match these options failed"
    case $format in
    table | json) lines 0 ;;
    csv) lines 1 ;;
    t4) has "$work/out" '"results":[]' ;;
    esac
done
cp "$work/out" "$work/none-failed.json"
run 0 "$MIXTUNE" merge --into "$work/none-failed.db" "$work/none-failed.json" -q # it is a whole file
result "--failed where nothing failed is an empty list"
nothing() { # WORDS ARGUMENTS...
    run 1 "$MIXTUNE" show --db "$db" "${@:2}" -q
    has "$work/err" "$1"
    no_results
}
for format in table json csv t4; do
    nothing 'has no measurements that match these options' --failed --m 77 --format $format
done
nothing 'has no winners that match these options' --floor --m 77
nothing 'holds no winner whose device has limits: run ' --floor
nothing 'has measurements that match these options, and no times of peers among them' --peers
nothing 'has no times of peers that match these options' --peers --m 77
nothing '; did you mean tiny?' --failed --model Tinny
nothing 'in its name; it has A100-SXM-80G (software device, modelled times), NVIDIA H100 80GB HBM3' --gpu h200
nothing 'has no winners that match these options' --gpu h100 --m 77
nothing '; did you mean gate_up?' --layer qkv,gate-up --m 77
result "nothing that matches is told apart from nothing that failed"

run 0 "$MIXTUNE" report --db "$db" --out "$work/report" -q
for origin in measured modelled; do
    for kind in speedup time winners; do
        for file in "$work"/report/*tiny*"$origin-$kind".svg; do
            has "$file" "$origin on "
            has "$file" "($origin"
            [ "$origin" = modelled ] || lacks "$file" "modelled"
            [ "$origin" = measured ] || has "$file" "no speed-up of a real GPU"
        done
        for file in "$work"/report/*tiny*"$origin-$kind".png; do
            [ "$(head -c 4 "$file" | tail -c 3)" = PNG ] || verdict+=" $file is no picture; "
        done
    done
done
[ "$(find "$work/report" -name '*-speedup.svg' | wc -l)" = 2 ] || verdict+=" a speed-up without a baseline was drawn; "
[ "$(find "$work/report" -name '*-time.svg' | wc -l)" = 4 ] || verdict+=" not four plots of times; "
result "report draws every plot and marks what is modelled"

# titled FOLDER MODEL: the two lines of each title of that model, of the script that draws it and in the picture.
titled() {
    local script line
    for script in "$1"/data/*-"$2"-*.gp; do
        sed -nE 's/^(what|where) = "(.*)"$/\2/p' "$script" >"$work/lines"
        [ "$(wc -l <"$work/lines")" = 2 ] || verdict+=" not two lines in $script; "
        while read -r line; do
            has "$1/$(basename "$script" .gp).svg" ">$line<"
        done <"$work/lines"
        paste -sd '|' "$work/lines"
    done >"$work/titles"
}
measured='measured on NVIDIA H100 80GB HBM3, group 128, cold cache'
modelled='modelled on software device A100-SXM-80G, group 128, cold cache'
titled "$work/report" tiny
same - "$work/titles" <<END
tiny, fp16: speed-up of the fastest configuration (no speed-up of a real GPU)|$modelled
tiny, fp16: time of the fastest configuration, without quantising (no speed-up of a real GPU)|$modelled
tiny, fp16: the fastest configuration of each layer (no speed-up of a real GPU)|$modelled
tiny, fp16: speed-up of the fastest configuration|$measured
tiny, fp16: time of the fastest configuration, without quantising|$measured
tiny, fp16: the fastest configuration of each layer|$measured
END
titled "$work/report" shapes
same - "$work/titles" <<END
bare shapes, fp16: time of the fastest configuration, without quantising (no speed-up of a real GPU)|$modelled
bare shapes, fp16: the fastest configuration of each layer (no speed-up of a real GPU)|$modelled
bare shapes, fp16: time of the fastest configuration, without quantising|$measured
bare shapes, fp16: the fastest configuration of each layer|$measured
END
cp "$db" "$work/parallel.db"
sqlite3 "$work/parallel.db" "UPDATE layer SET tp = 4 WHERE model <> ''; UPDATE measurement SET group_size = 64, dtype = 'bf16', cache_state = 'hot'"
run 0 "$MIXTUNE" report --db "$work/parallel.db" --out "$work/parallel" -q --gpu h100
titled "$work/parallel" tiny
same - "$work/titles" <<'END'
tiny, bf16: speed-up of the fastest configuration|measured on NVIDIA H100 80GB HBM3, group 64, hot cache, tensor parallel over 4
tiny, bf16: time of the fastest configuration, without quantising|measured on NVIDIA H100 80GB HBM3, group 64, hot cache, tensor parallel over 4
tiny, bf16: the fastest configuration of each layer|measured on NVIDIA H100 80GB HBM3, group 64, hot cache, tensor parallel over 4
END
result "the titles say what is drawn and where it was measured"

page=$work/report/index.html
[ "$(grep -c 'src="data:image/svg+xml;base64,' "$page")" = 10 ] || verdict+=" not ten plots; "
! grep -oE '(src|href)="[^d][^"]{0,40}' "$page" >"$work/err" || verdict+=" it needs what is elsewhere; "
for text in '&lt;and&gt;' 'class="modelled"' 'GPU-2' 'fp16 baseline was recorded'; do
    has "$page" "$text"
done
lacks "$page" '{{'
result "the page is self-contained"

grep -o 'base64,[^"]*' "$page" | while IFS=, read -r _ picture; do
    echo "$picture" | base64 -d | sha256sum
done | sort >"$work/embedded"
for picture in "$work"/report/*.svg; do
    sha256sum <"$picture"
done | sort >"$work/pictures"
same "$work/embedded" "$work/pictures"
result "the page holds the plots as they are"

show --format csv --model tiny --gpu software -q
awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next } { print $3, $7, $6, $12 / 1000, $at["ratio"] }' "$work/out" | sort >"$work/table"
awk -F, 'NR > 1 { print $20, $21, $5, $6 + 0, $10 }' "$work"/report/data/*tiny*modelled.csv | sort >"$work/plot"
[ "$(wc -l <"$work/plot")" = 12 ] || verdict+=" not twelve points; "
same "$work/table" "$work/plot"
result "plots and tables show the same numbers"

# The scripts beside the data draw the same picture again.
for script in "$work"/report/data/*measured-speedup.gp; do
    rm "$work/report/$(basename "$script" .gp).svg"
    run 0 env -C "$work/report" gnuplot "data/$(basename "$script")"
    has "$work/report/$(basename "$script" .gp).svg" "measured on"
done
result "the gnuplot scripts of a report run by themselves"

# Layers with some features in 8 bits, in each picture by their share.
cp "$db" "$work/mixed.db"
# What writes brings it up to date.
run 75 "$MIXTUNE" sweep --quiet --device soft:a100-sxm-80g --shape 8,64,128 --time-limit 0.001s --db "$work/mixed.db"
sqlite3 "$work/mixed.db" "UPDATE measurement SET scheme = 'mixed-sym', rows8 = 256 WHERE scheme = 'w8a8' AND layer = (SELECT id FROM layer WHERE layer = 'qkv')"
sqlite3 "$work/mixed.db" "UPDATE measurement SET scheme = 'mixed', rows8 = 100 WHERE scheme = 'w8a8'"
run 0 "$MIXTUNE" report --db "$work/mixed.db" --model tiny --gpu h100 --out "$work/mixed" -q
for kind in speedup winners time; do
    grep -q 'p4.9<' "$work"/mixed/*tiny*"$kind.svg" || verdict+=" no p4.9 in the plot $kind; "
    grep -q 'p25-sym<' "$work"/mixed/*tiny*"$kind.svg" || verdict+=" no p25-sym in the plot $kind; "
done
for filter in "p25-sym 3" "mixed 6" "mixed,mixed-sym 9" "p4.9 3" "w8a8 0"; do
    "$MIXTUNE" show --db "$work/mixed.db" -q --gpu h100 --format csv --scheme "${filter% *}" >"$work/out" 2>/dev/null
    [ "$(grep -c measured "$work/out")" = "${filter#* }" ] || verdict+=" --scheme ${filter% *}: $(grep -c measured "$work/out") rows; "
done
run 0 "$MIXTUNE" show --db "$work/mixed.db" -q --gpu h100 --format csv --rows8 256,7
lines 4
result "mixed layers in plots, and by --scheme and --rows8"

only_path=$work refused 1 "install the package gnuplot-nox" report --db "$db" --out "$work/none"
[ ! -e "$work/none" ] || verdict+=" a folder was made; "
result "no gnuplot is a sentence"

: >"$work/file"
refused 1 "$work/file" report --db "$db" --out "$work/file/report" -q
result "a folder that cannot be made is a sentence"
refused 1 "mixtune sweep" show --db "$work/none.db"
result "no database is a sentence"
refused 1 "not a database" show --db tests/cli/test_report.sh
result "a file that is no database is a sentence"
refused 1 'has no layer' show --db "$db" --layer nose
refused 1 "has no winners that match these options; relax them, or run a sweep first" show --db "$db" --layer qkv --m 77
result "nothing that fits is a sentence"
refused 64 "table, json, csv" show --db "$db" --format xml
result "an unknown format is bad usage"
refused 64 "takes options only" show --db "$db" winners
result "a bare word is bad usage"

refused 1 "sweep again" export --db "$db" --out "$work/x"
result "winners of other templates are not exported"

# From a sweep to a bundle: every winner that show prints is an entry, with its configuration, time and an image.
run 0 "$MIXTUNE" sweep --device soft:a100-sxm-80g --shape "1,64,128" --shape "9,64,128" --scheme w4a8 --quick --max-configs 3 --db "$work/s.db" -q
run 0 "$MIXTUNE" show --db "$work/s.db" --format csv -q
cp "$work/out" "$work/winners.csv"
run 0 "$MIXTUNE" export --db "$work/s.db" --out "$work/s.mixtune" -q
has "$work/err" "modelled times"
sqlite3 :memory: >"$work/same" <<SQL
ATTACH '$work/s.mixtune' AS b;
.import --csv $work/winners.csv w
SELECT count(*), sum(abs(e.expected_ns - w.median_ns) < 1e-6 AND e.config = w.config AND e.origin = 'modelled'
                     AND i.hash IS NOT NULL)
FROM w LEFT JOIN b.entry e ON e.m = w.m AND e.kind = 'kernel' LEFT JOIN b.image i ON i.hash = e.image;
SELECT count(*) FROM b.fallback WHERE family IN ('sm80', 'quantize');
SQL
printf '2|2\n7\n' >"$work/counts" # quantisation, and what stands in for few tokens and for many, for 4 bits, 8 bits and both
same "$work/counts" "$work/same"
result "a sweep's winners are the entries of its bundle"

# What `sha256sum` says of the file, for people and for programs; and a bundle without machine code, with the same rows.
has "$work/out" "SHA-256 $(sha256sum "$work/s.mixtune" | cut -d' ' -f1)"
run 0 "$MIXTUNE" export --db "$work/s.db" --out "$work/bare.mixtune" -q --json --no-images
has "$work/out" "\"sha256\":\"$(sha256sum "$work/bare.mixtune" | cut -d' ' -f1)\""
has "$work/out" '"images":0'
for bundle in s bare; do
    sqlite3 "$work/$bundle.mixtune" "SELECT layer, m, kind, family, config, expected_ns, origin FROM entry; SELECT family, config, scheme, dtype, group_size FROM variant; SELECT family, config, scheme, dtype, group_size FROM fallback" >"$work/$bundle.rows"
done
same "$work/s.rows" "$work/bare.rows"
[ "$(sqlite3 "$work/bare.mixtune" "SELECT count(*) FROM image" "SELECT count(*) FROM entry WHERE image IS NOT NULL" | xargs)" = "0 0" ] || verdict+=" it has images; "
[ "$(stat -c %s "$work/bare.mixtune")" -lt "$(stat -c %s "$work/s.mixtune")" ] || verdict+=" it is no smaller; "
result "export tells the SHA-256, and makes bundles without machine code"

# Names of any length come from databases that were merged: none is cut.
zeros=$(printf '%0200d' 0)
cp "$work/s.db" "$work/long.db"
sqlite3 "$work/long.db" "UPDATE device SET name = name || '$zeros'"
run 0 "$MIXTUNE" export --db "$work/long.db" --out "$work/long.mixtune" -q --json
has "$work/out" "modelled times)$zeros\""
[ "$(sqlite3 "$work/long.mixtune" "SELECT count(*) FROM entry WHERE kind = 'kernel'")" = 2 ] || verdict+=" not two kernels; "
cp "$db" "$work/long.db"
sqlite3 "$work/long.db" "UPDATE layer SET layer = layer || '$zeros' WHERE id < 3"
run 0 "$MIXTUNE" report --db "$work/long.db" --out "$work/long" --model tiny --gpu h100 -q
for kind in speedup time winners; do # a picture has room for their two ends
    for name in qkv gate_up; do
        grep -qE ">${name}0{10,30}…0{10,30}" "$work"/long/*tiny*measured-$kind.svg || verdict+=" no $name in the plot $kind; "
    done
done
cat "$work"/long/data/*tiny*measured.csv >"$work/script"
has "$work/script" "qkv$zeros"
has "$work/script" "gate_up$zeros"
result "long names are exported whole, and drawn with their two ends"

# Models whose names differ in what a file's name cannot have, or behind its end, have plots of their own.
longer=$(printf 'm%.0s' {1..70})
names=(tiny Tiny a/b a_b 模型甲 模型乙 shapes "${longer}a" "${longer}b")
cp "$db" "$work/names.db"
{
    echo "DELETE FROM measurement WHERE layer < 3 OR origin <> 'measured' OR config <> 1 OR m <> 1 OR scheme <> 'w4a8';
        CREATE TEMP TABLE one AS SELECT * FROM measurement;"
    for at in "${!names[@]}"; do
        echo "INSERT INTO layer (id, model, layer, n, k, tp) VALUES (10 + $at, '${names[at]}', 'o', 64, 32, 1);
            UPDATE one SET id = 10000 + $at, layer = 10 + $at; INSERT INTO measurement SELECT * FROM one;"
    done
} | sqlite3 "$work/names.db" || verdict+=" no database of names; "
run 0 "$MIXTUNE" report --db "$work/names.db" --out "$work/names" -q
for name in "${names[@]}" 'bare shapes'; do
    [ "$(grep -lF "what = \"$name, fp16: time" "$work"/names/data/*-time.gp | wc -l)" = 1 ] || verdict+=" no one script of $name; "
    [ "$(grep -lF ">$name, fp16: time" "$work"/names/*-time.svg | wc -l)" = 1 ] || verdict+=" no one picture of $name; "
done
for name in tiny shapes; do # ordinary names stay as they are
    [ -s "$work/names/nvidia-h100-80gb-hbm3-$name-tp1-fp16-g128-cold-gpu-1-measured-time.svg" ] || verdict+=" no plot called $name; "
done
run 0 "$MIXTUNE" show --db "$work/names.db" -q
for name in "${names[@]}"; do
    has "$work/out" "$name  "
done
result "every model has files of its own, whatever it is called"

# What was tuned with other templates than those that are there now must not be shipped.
cp -R templates "$work/templates"
echo "// changed" >>"$work/templates/gemm_sm80.cu"
MIXTUNE_TEMPLATES=$work/templates refused 1 "other kernel templates" export --db "$work/s.db" --out "$work/y"
[ ! -e "$work/y" ] || verdict+=" a file was made; "
result "after a change of the templates nothing is exported"
finish
