#!/bin/bash
# A name is data: hostile text in every column of a database, in a T4 file, and in the files that a user is handed reaches no shell, no
# gnuplot command and no terminal, and every output stays what it is (JSON, CSV, SVG, HTML). tests/cli/names.py looks at all of them.
# shellcheck disable=SC2016,SC2054,SC2317 # what must not be expanded, commas in values, functions called by name
set -u
. tests/cli/cases.sh
work=$TMPDIR
db=$work/t.db
python=$(python3 -c 'import sys; print(sys.executable)') # itself, where python3 is a script that looks for it
home=$PWD
names() { "$python" -S "$home/tests/cli/names.py" "$@"; }
export MIXTUNE_LOG=debug
mkdir "$work/said" "$work/here" || exit 1

# What a shell, gnuplot, printf(), a browser or a spreadsheet would do something with; the same with what a terminal would obey
# (OSC 52 writes into the clipboard, U+009B begins a sequence, too) and what nobody sees, all of it UTF-8; and with bytes that are not.
plain=$'\'%s%n/../b; system("touch EXECUTED") #`touch EXECUTED`$(touch EXECUTED)|touch EXECUTED\\n{/Symbol a}^_@&{}~<script>alert(1)</script>]]>-->"\\"'
control=$plain$'\e]52;c;VE9VQ0g=\a\e[2J\r\n\t\b\x7f\xc2\x9b31m\xe2\x80\xae\xe2\x81\xa6\xe2\x80\x8b\xe2\x80\xa8'
broken=$control$'\xff\xfe\xc3(\xed\xa0\x80\xe2\x82'
sql_text() { echo "CAST(x'$(printf %s "$1" | od -An -v -tx1 | tr -d ' \n')' AS TEXT)"; }

# said KIND COMMAND...: what it writes is kept for names.py; it may refuse, but not crash, and if it does, it says why.
count=0 asked=0
said() {
    local code
    count=$((count + 1))
    (cd "$work/here" && "${@:2}" >"$work/said/$count.$1" 2>"$work/said/$count.err")
    code=$?
    untold=1
    case $code in
    0) ;;
    1 | 2 | 64 | 69 | 75) [ -s "$work/said/$count.err" ] || verdict+=" exit code $code without a word of: ${*:2}; " ;;
    *) verdict+=" exit code $code of: ${*:2}; " ;;
    esac
    return $code
}
must() { said "$@" || verdict+=" refused: $(tail -n 1 "$work/said/$count.err" | cut -c-300); "; }
# looked NAME: everything that was written since the last time is looked at.
looked() {
    (cd "$work" && find said here \( -type f -newer "$work/looked" -o -type f ! -newermt '1970-01-02' \) ! -name '*.db*' -print0) >"$work/list"
    asked=$(tr -cd '\0' <"$work/list" | wc -c)
    [ "$asked" -gt 0 ] || verdict+=' nothing was written; '
    (cd "$work" && names check <"$work/list") >"$work/faults" || verdict+=' names.py failed; '
    [ ! -s "$work/faults" ] || verdict+=" $(wc -l <"$work/faults") faults, such as $(head -n 3 "$work/faults" | cut -c-400); "
    find . -maxdepth 1 -name 'EXECUTED*' >"$work/executed"
    find "$work" -name 'EXECUTED*' >>"$work/executed"
    [ ! -s "$work/executed" ] || verdict+=" executed: $(head -n 1 "$work/executed"); "
    rm -rf "$work/said" "$work/here"
    mkdir "$work/said" "$work/here"
    result "$1"
}
touch -d '1970-01-03' "$work/looked"

# Two devices, two layers, a bare shape, baselines, quantisation, a peer, a failure, limits, and a stale row.
{
    cat db/current.sql
    echo "PRAGMA application_id = $((0x4d495854)); PRAGMA user_version = $(find db -name 'schema*.sql' | wc -l);"
    cat <<'SQL'
INSERT INTO device VALUES (1, 'GPU-1', 'NVIDIA H100 80GB HBM3', 90, 132, 0), (2, 'GPU-2', 'H100-SXM (software device, modelled times)', 90, 132, 1);
INSERT INTO environment VALUES (1, 13000, 1300, 'old', '13.0', '', ''), (2, 13000, 1300, 'new', '13.0', '{}', ''), (3, 13000, 1300, 'new', '', '', 'model');
INSERT INTO run (id, device, environment, command, started) VALUES (1, 1, 1, 'mixtune sweep', 1), (2, 1, 2, 'mixtune sweep', 2), (3, 2, 3, 'mixtune sweep', 3);
INSERT INTO layer VALUES (1, 'tiny', 'qkv', 1024, 512, 1), (2, 'tiny', 'gate_up', 2048, 512, 1);
INSERT INTO config (id, family, config) VALUES (1, 'sm80', 'stages=2,split_k=1'), (2, 'sm80', 'stages=3,split_k=1'), (3, 'f16', ''), (4, 'sm80', 'stages=9'),
    (5, 'quantize', ''), (6, 'peer:torch-fp16', 'torch=2.11.0');
INSERT INTO knob VALUES (1, 'stages', 2), (2, 'stages', 3);
CREATE TEMP TABLE row AS
WITH run(r, d, slow) AS (VALUES (2, 1, 1), (3, 2, 7)), size(m) AS (VALUES (1), (16), (256)),
     way(c, s, f) AS (VALUES (1, 'w4a8', 1), (2, 'w4a8', 1.1), (1, 'w8a8', 1.3), (3, 'fp16', 3), (5, 'fp16', 0.1), (6, 'fp16', 2))
SELECT row_number() OVER () AS number, *, (1000.0 * m + 100 * (c % 3)) * f * slow AS ns FROM run, layer, size, way WHERE d = 1 OR c < 3;
INSERT INTO measurement (id, run, layer, config, m, group_size, scheme, rows8, dtype, binary, outcome, message, origin, cache_state,
    samples, median_ns, low_ns, high_ns, registers, smem_bytes, spill_bytes, created, rejected, tries)
SELECT number, r, id, c, m, iif(c IN (3, 6), 0, 128), s, iif(s = 'w8a8', n, 0), 'fp16', '', 'ok', '', iif(d = 1, 'measured', 'modelled'), 'cold',
    x'0000000000000000', ns, ns * 0.9, ns * 1.1, 0, 0, 0, 1000 + number, 0, 1
FROM row
UNION ALL SELECT 9001, 1, 1, 1, 1, 128, 'w4a8', 0, 'fp16', '', 'ok', '', 'measured', 'cold', x'0000000000000000', 1, 1, 1, 0, 0, 0, 1, 0, 1
UNION ALL SELECT 9002, 2, 1, 4, 1, 128, 'w4a8', 0, 'fp16', '', 'wrong', 'y[3, 17] is 1.5', 'measured', 'cold', NULL, NULL, NULL, NULL, 0, 0, 0, 2, 0, 1;
INSERT INTO device_limit (run, name, value, unit, origin, created)
    SELECT id, column1, column2, column3, iif(device = 1, 'measured', 'modelled'), 5 FROM run, (VALUES ('dram_read_1', 2000, 'GB/s'), ('int8_1', 900, 'TOPS'),
    ('launch', 3, 'us'), ('mine', 1, 'x')) WHERE run.id > 1;
SQL
} | sqlite3 "$db" || exit 1
run 0 "$MIXTUNE" show --db "$db" --all
expect 'qkv' out
result 'a database of everything'

# hostile DATABASE SQL: a copy whose checks are off.
hostile() {
    cp "$db" "$1"
    sqlite3 "$1" <<<"PRAGMA ignore_check_constraints = 1; PRAGMA foreign_keys = 0; $2" 2>"$work/err" || verdict+=" $(cut -c-300 "$work/err"); "
}
# Every column that holds names; `text` is SQL. What the views know (f16, quantize, peer:) stays before it.
all_names() { # text
    echo "UPDATE device SET name = $1 || name, uuid = $1 || uuid;
        UPDATE run SET command = $1, missing = $1, nvrtc = $1;
        UPDATE environment SET cublas_version = $1, time_model = iif(id IN (SELECT environment FROM run JOIN device ON device.id = device WHERE software), $1, ''),
            template_hash = $1 || template_hash, clocks = iif(clocks = '', '', json_object('sm_mhz', 1, $1, $1));
        UPDATE layer SET layer = substr('=-', id, 1) || $1 || layer, model = $1 || model;
        UPDATE config SET family = iif(id = 6, 'peer:', '') || $1 || family, config = $1 || config WHERE id IN (2, 4, 6);
        UPDATE knob SET name = $1 || name;
        UPDATE device_limit SET name = $1 || name, unit = $1 WHERE name = 'mine';
        UPDATE measurement SET message = $1, binary = $1 WHERE outcome <> 'ok';
        UPDATE measurement SET scheme = $1 || scheme WHERE scheme = 'w8a8' AND layer = 1;"
}
show() { # database, must or said: in every format
    local format
    for format in table json csv t4; do
        "$2" "${format/table/text}" "$MIXTUNE" show --db "$1" --all --format $format
    done
}
ask() { # database, must or said: every other question
    "$2" text "$MIXTUNE" show --db "$1"
    "$2" text "$MIXTUNE" show --db "$1" --failed
    "$2" csv "$MIXTUNE" show --db "$1" --peers --format csv
    "$2" csv "$MIXTUNE" show --db "$1" --floor --format csv
    "$2" json "$MIXTUNE" correlate --db "$1" --json
    "$2" text "$MIXTUNE" correlate --db "$1"
    said text "$MIXTUNE" replay --db "$1" --seeds 1 --strategy random
    said json "$MIXTUNE" export --db "$1" --out x.mixtune --json
    said text "$MIXTUNE" show --db "$1" --model "$plain" --layer "$control"
    said text "$MIXTUNE" show --db "$1" --gpu "$broken"
    said text "$MIXTUNE" merge --into new.db "$1"
}

hostile "$work/plain.db" "$(all_names "$(sql_text "$plain")")"
show "$work/plain.db" must
ask "$work/plain.db" must
must text "$MIXTUNE" report --db "$work/plain.db" --out "report ' \" \`touch FOLDER\` \$(touch FOLDER) %s"
cp "$db" "$work/origin.db"
sqlite3 "$work/origin.db" "UPDATE layer SET layer = $(sql_text "$plain") || layer, model = $(sql_text "$plain"); UPDATE device SET name = $(sql_text "$plain") || id"
must json "$MIXTUNE" replay --db "$work/origin.db" --seeds 1 --share 100 --strategy random --json
must text "$MIXTUNE" replay --db "$work/origin.db" --seeds 1 --share 100 --strategy random --out replay
for kind in speedup time winners peers; do # in pictures a percent sign is shown, too, for on axes it begins a format
    cat "$work"/here/report*/*-$kind.svg >"$work/pictures" && grep -q '>[-=].\\x25s\\x25n/../b; .*…' "$work/pictures" || verdict+=" no name of a layer in the plots $kind; "
done
looked 'names that a shell, gnuplot, a browser or a spreadsheet would obey'

long=$(printf 'long%.0s' {1..250})
hostile "$work/control.db" "$(all_names "$(sql_text "$control")")"
hostile "$work/broken.db" "$(all_names "$(sql_text "$long$broken")")"
hostile "$work/zero.db" "$(all_names "CAST(x'610062' AS TEXT)")"
for name in control zero broken; do # where it is refused there is nothing
    show "$work/$name.db" said
    for file in "$work"/said/{$((count - 3)).text,$((count - 2)).json,$((count - 1)).csv}; do
        [ $name = control ] || [ ! -s "$file" ] || [ "$(grep -cE '(\\\\?x00b|\\\\?xe2\\\\?x82)qkv' "$file")" -ge 20 ] || verdict+=" names are left out of $name, $file; "
    done
done
for name in $((count - 4)) $count; do # nothing reads what would be in them
    [ ! -s "$work/said/$name.t4" ] || verdict+=' T4 without a part of its names; '
done
ask "$work/broken.db" said
said text "$MIXTUNE" report --db "$work/broken.db" --gpu NVIDIA --out "broken ${broken//\//}"
looked 'names that a terminal would obey, that are not seen, or that are no UTF-8'

# Words of ours that a database has replaced: it may be refused.
hostile "$work/ours.db" "$(for column in outcome origin cache_state dtype; do
    echo "UPDATE measurement SET $column = $(sql_text "$broken") || $column WHERE m > 1;"
done)"
show "$work/ours.db" said
sqlite3 "$work/ours.db" "PRAGMA ignore_check_constraints = 1; UPDATE measurement SET outcome = 'ok' WHERE median_ns > 0"
said text "$MIXTUNE" report --db "$work/ours.db" --cache all --gpu NVIDIA --m 16 --out ours
said text "$MIXTUNE" replay --db "$work/ours.db" --seeds 1 --share 100 --strategy random --out replay
columns=0 broken_sql=$(sql_text "$broken")
while IFS='|' read -r table column key; do
    columns=$((columns + 1))
    hostile "$work/one.db" "UPDATE \"$table\" SET \"$column\" = $broken_sql || \"$key\""
    said text "$MIXTUNE" show --db "$work/one.db" --all
done < <(sqlite3 "$db" "SELECT m.name, p.name, coalesce((SELECT name FROM pragma_table_info(m.name) WHERE name = 'id'), 'name')
    FROM sqlite_schema AS m, pragma_table_info(m.name) AS p WHERE m.type = 'table' AND p.type = 'TEXT'")
[ $columns -ge 24 ] || verdict+=" only $columns columns; "
looked 'every text column by itself'

run 0 "$MIXTUNE" show --db "$db" --all --format t4
cp "$work/out" "$work/whole.json"
names t4 "$work/whole.json" "$work/t4" "$control" || verdict+=' no T4 files; '
for file in "$work"/t4/*.json; do
    said text "$MIXTUNE" merge --into merged.db "$file"
done
[ "$(sqlite3 "$work/here/merged.db" 'SELECT count(*) FROM layer' 2>/dev/null)" -ge 3 ] || verdict+=' nothing was merged; '
show merged.db said
said text "$MIXTUNE" report --db merged.db --model "$control" --out merged
looked 'every text of a T4 file'

# Files that a user is handed, with names and values of theirs, and with names of their own.
soft=soft:a100-sxm-80g
names files "$work/files" configs/devices/a100-sxm-80g.yaml "$control" "$broken" || verdict+=' no files; '
for folder in "$work"/files/*; do
    for file in "$folder"/model/*; do
        said text "$MIXTUNE" sweep --device "$soft" --model "$file" --m 1 --layers "$control" --db model.db
    done
    for file in "$folder"/space/* "$folder/none$control.yaml"; do
        said text "$MIXTUNE" verify --device "$soft" --shape 8,64,128 --space "$file"
    done
    for file in "$folder"/splits/*; do
        said text "$MIXTUNE" sweep --device "$soft" --shape 64,128 --m 8 --splits "$file" --db model.db
    done
    for file in "$folder"/device/*; do
        said text "$MIXTUNE" info --device "soft:$file"
        said json "$MIXTUNE" info --device "soft:$file" --json
    done
    for file in "$folder"/checkpoint*; do
        said text "$MIXTUNE" quantize --model "$file" --out q --scheme w4a8
        said text "$MIXTUNE" convert --model "$file" --out "out $control"
    done
done
looked 'models, spaces, splits, devices and checkpoints'

# The command line, and a terminal.
for text in "$control" "$broken"; do
    said text "$MIXTUNE" "$text"
    for option in "--$text" "--db=$text" "--layer=$text" "--m=$text" "--scheme=$text" "--gpu=$text" "--format=$text" "--cache=$text" "$text" "--ip=$text"; do
        said text "$MIXTUNE" show "$option"
    done
    said text "$MIXTUNE" info --device "$text"
    said text env SOFTGPU_ASYNC="$text" "$MIXTUNE" info --device "$soft"
    said json "$MIXTUNE" info --json --images "$text"
    said text "$MIXTUNE" merge --into "$text" "$text"
    said text "$MIXTUNE" verify --device "$soft" --shape "$text" --config "$text"
    said text "$MIXTUNE" verify --device "$soft" --shape 8,64,128 --family "$text"
done
# What was typed is kept in a database that can be written as T4 all the same.
must text "$MIXTUNE" sweep --device "$soft" --quick --max-configs 1 --shape 8,64,128 --db "own.db${broken//\//}"
must t4 "$MIXTUNE" show --db "own.db${broken//\//}" --format t4
said text "$python" -c 'import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))' sh -c 'stty cols 100 -onlcr; exec "$@" 2>/dev/null' - \
    "$MIXTUNE" show --db "$work/broken.db" </dev/null
expect 'x1b' "said/$count.text"
looked 'command lines and terminals'
finish
