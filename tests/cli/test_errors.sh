#!/bin/bash
# Wrong input and a hostile surrounding: one sentence on standard error that names the cause, and the right exit code.
set -u
. tests/cli/cases.sh
soft=soft:a100-sxm-80g
# shellcheck disable=SC2054 # the commas are the shape's
sweep=("$MIXTUNE" sweep --quiet --device "$soft" --shape 8,64,128 --db "$TMPDIR/db")

# check NAME CODE WORDS COMMAND...: a case of one sentence.
check() {
    sentence "${@:2}"
    result "$1"
}

space() { # text -> path of a space file
    printf '%b' "$1" >"$TMPDIR/space.yaml"
    echo "$TMPDIR/space.yaml"
}

model() { # text -> path of a model file
    mkdir -p "$TMPDIR/tiny"
    echo "$1" >"$TMPDIR/tiny/config.json"
    echo "$TMPDIR/tiny/config.json"
}

check 'a command that is not there' 64 'swep|did you mean sweep?' "$MIXTUNE" swep
check 'nothing to do' 64 '--model|--shape' "$MIXTUNE" sweep
check 'a knob that is not there, in --config' 64 'tile_x|did you mean tile_k, tile_m or tile_n?' \
    "$MIXTUNE" verify --quiet --device "$soft" --shape 8,64,128 --config tile_x=3
check 'a knob that is not there, in a space' 64 'line 5|tile_x|did you mean tile_k, tile_m or tile_n?' \
    "${sweep[@]}" --space "$(space 'family: sm80\nvalues:\n  stages: [3]\n\n  tile_x: [1]\n')"
check 'a knob with a word for a value' 64 'line 3|wide' \
    "${sweep[@]}" --space "$(space 'family: sm80\nvalues:\n  tile_n: [64, wide]\n')"
check 'YAML that is broken' 64 'space.yaml|line 4' \
    "${sweep[@]}" --space "$(space 'family: sm80\nvalues:\n  tile_n: [64, 128\n  stages: [3]\n')"
check 'a family that is not there' 64 'space.yaml|sm70|there are sm90, sm80, f16' "${sweep[@]}" --space "$(space 'family: sm70\nvalues:\n  tile_n: [64]\n')"
check 'a space that is not there' 64 'no-such' "${sweep[@]}" --space no-such
check 'a space that was meant' 64 'quick-sm80-decod.|did you mean quick-sm80-decode or quick-sm90-decode?' \
    "${sweep[@]}" --space quick-sm80-decod
check 'a model that was meant' 64 'did you mean llama-3.1-8b?' "$MIXTUNE" sweep --quiet --model lama-3.1-8b
check 'a model that is not there' 64 'no-such' "$MIXTUNE" sweep --quiet --model no-such
check 'a config.json without a field' 64 'tiny/config.json|num_attention_heads' \
    "$MIXTUNE" sweep --quiet --model "$(model '{"hidden_size": 64, "intermediate_size": 128, "vocab_size": 9}')"
check 'a config.json that is no JSON' 64 'tiny/config.json|line 1' "$MIXTUNE" sweep --quiet --model "$(model '{"hidden_size" 64}')"
check 'a scheme that is not there' 64 'w3a8|did you mean w4a8 or w8a8?' "$MIXTUNE" sweep --quiet --shape 8,64,128 --scheme w3a8
check 'a group that is not there' 64 '32' "$MIXTUNE" sweep --quiet --shape 8,64,128 --group 32
check 'a range that is none' 64 '1:256' "$MIXTUNE" sweep --quiet --shape 64,128 --m 1:256
check 'a tensor parallelism that does not divide' 64 '--tp 5' "$MIXTUNE" sweep --quiet --model llama-3.1-8b --tp 5
check 'a software device that was meant' 69 'did you mean h100-sxm?' "$MIXTUNE" verify --quiet --device soft:h10-sxm --shape 8,64,128
check 'a software device that is not there' 69 'no-such|there are a100-sxm-80g, h100-sxm' "$MIXTUNE" verify --quiet --device soft:no-such --shape 8,64,128
check 'a device that is none' 64 'gpu7' "$MIXTUNE" verify --quiet --device gpu7 --shape 8,64,128
check 'a CUDA device that is not there' 69 'CUDA' "$MIXTUNE" verify --quiet --device cuda:4096 --shape 8,64,128
check 'a database that is none' 1 'notes' "$MIXTUNE" sweep --quiet --device "$soft" --shape 8,64,128 \
    --db "$(echo 'These are my notes, and they are not a database.' >"$TMPDIR/notes" && echo "$TMPDIR/notes")"
check 'a database in a folder that is not there' 1 'nowhere' \
    "$MIXTUNE" sweep --quiet --device "$soft" --shape 8,64,128 --db "$TMPDIR/nowhere/db"
check 'a configuration that cannot run' 64 'tile' \
    "$MIXTUNE" verify --quiet --device "$soft" --shape 8,64,128 --config tile_n=48

none="family: sm80\nvalues:\n  tile_n: [48, 80]\n  stages: [3, 98, 99]\n"
for command in "sweep --db $TMPDIR/none" verify; do
    # shellcheck disable=SC2086 # options
    check "a space in which nothing fits, of ${command%% *}" 64 'none of 6 configurations can run on A100|98 (4); a feature tile of 48|(2)' \
        "$MIXTUNE" $command --quiet --device "$soft" --shape 8,64,128 --space "$(space "$none")"
done
[ ! -e "$TMPDIR/none" ] || verdict+=' a database was made; '
check 'a space for another device' 64 'none of 2 configurations|compute capability 9.0 only' \
    "${sweep[@]}" --space "$(space 'family: sm90\nvalues:\n  stages: [3, 4]\n')"
run 0 "$MIXTUNE" verify --device "$soft" --shape 8,64,128 --shape 8,64,257 \
    --space "$(space 'family: sm80\nvalues:\n  stages: [3, 99]\n  split_k: [2, 3]\n  tile_n: [48, 64]\n')"
expect '^6 of 8 configurations can run none of these problems on A100.*: a pipeline has 2 to 16 stages, not 99 \(4\); other reasons \(2\)$' err
result 'a space of which a part fits says how much does not, and why'
check 'a problem for which nothing fits' 0 'warning: for 1 of 2 problems no configuration of the space can run, such as 64x128 at M=8: split_k' \
    "$MIXTUNE" verify --quiet --device "$soft" --shape 8,64,128 --shape 8,64,256 \
    --space "$(space 'family: sm80\nconfigs:\n  - tile_m=8,warps_m=1,split_k=2\n')"

check 'a configuration of a space that has no value' 64 'space.yaml|line 4|tile_n' \
    "${sweep[@]}" --space "$(space 'family: sm80\nconfigs:\n  - stages=3\n  - tile_n\n')"
check 'a space that lists nothing' 64 'space.yaml|values|configs' "${sweep[@]}" --space "$(space 'family: sm80\n')"
check 'a list of spaces without one' 64 '--space|empty' "${sweep[@]}" --space ,
check 'a config.json that is a list' 64 'tiny/config.json|not a JSON object' "$MIXTUNE" sweep --quiet --model "$(model '[64]')"
check 'a config.json with a broken number' 64 'tiny/config.json|hidden_size|at least 1' \
    "$MIXTUNE" sweep --quiet --model "$(model '{"hidden_size": 0, "intermediate_size": 128, "num_attention_heads": 2, "vocab_size": 9}')"
check 'heads that are not shared evenly' 64 'tiny/config.json|num_attention_heads (6)|num_key_value_heads (4)' "$MIXTUNE" sweep --quiet \
    --model "$(model '{"hidden_size": 96, "intermediate_size": 128, "num_attention_heads": 6, "num_key_value_heads": 4, "vocab_size": 9}')"
check 'layers beyond every size' 64 'tiny/config.json|2147483647' "$MIXTUNE" sweep --quiet \
    --model "$(model '{"hidden_size": 96, "intermediate_size": 2000000000, "num_attention_heads": 6, "vocab_size": 9}')"
echo '{"hidden_size": 96, "intermediate_size": 16777216, "num_attention_heads": 6, "vocab_size": 9}' >"$TMPDIR/huge.json"
# Before anything is allocated: a limit of 1 GiB is never met.
beyond() { # COMMAND OPTIONS|WORDS
    # shellcheck disable=SC2086,SC2016 # options; $BUILD and $@ are for the inner shell
    check "$2, of ${1%% *}" 64 "${2#*|}" bash -c '[[ $BUILD == */asan ]] || ulimit -v 1048576; exec "$@"' - \
        "$MIXTUNE" $1 --quiet --device "$soft" ${2%%|*}
}
for command in verify bench "sweep --db $TMPDIR/huge"; do
    beyond "$command" '--shape 1,2147483647,2147483647|layer 2147483647x2147483647: N is 2147483647'
    beyond "$command" '--shape 64,64 --m 2000000000|M is 2000000000'
    beyond "$command" '--shape 1,16777216,65537|N x K is 16777216 x 65537'
    beyond "$command" '--shape 1,1048576,1048576|layer 1048576x1048576 at M=1 needs at least 512.0 GiB, and A100-SXM-80G|has 80.0'
done
for what in '--shape 64,64 --m 1:10001:1|more than 10000 problems' '--shape 2147483647,1,1|M is 2147483647' '--shape 1,1,16777217|K is 16777217' '--shape 99999999999,1,1|99999999999' \
    '--shape 16777216,16777216,16777216|M x N is' '--shape 64,64 --m 1:2000000000:x2|M is 33554432' \
    "--model $TMPDIR/huge.json --m 16|layer gate_up of huge: N is 33554432"; do
    beyond verify "$what"
done
check 'a format that is not there' 64 'xml|table, json, csv, t4' "$MIXTUNE" show --format xml
check 'a strategy that is not there' 64 'best|exhaustive, random, guided or sample' "${sweep[@]}" --strategy best
check 'a patience that is not there' 64 'slow|quick, normal or exhaustive' "${sweep[@]}" --patience slow
check 'a family that bench does not have' 64 'sm70|there are sm90, sm80, f16' "$MIXTUNE" bench --quiet --device "$soft" --shape 8,64,128 --family sm70
check 'a configuration that bench cannot run' 64 'configuration 2|M=8 N=64 K=128|48' \
    "$MIXTUNE" bench --quiet --device "$soft" --shape 8,64,128 --config tile_m=16 --config tile_n=48
check 'nothing to merge into' 64 '--into' "$MIXTUNE" merge a.db
check 'nothing to merge' 64 'merge --into all.db' "$MIXTUNE" merge --into all.db
for command in correlate export probe replay report show; do
    check "a word that $command does not take" 64 "$command takes options only|stray" "$MIXTUNE" $command stray
done
for command in correlate export replay report show; do
    check "$command of a database that is not there" 1 "no database $TMPDIR/none|--db" "$MIXTUNE" $command --quiet --db "$TMPDIR/none"
done

# A database whose page of one table is overwritten: whoever reads the table says so, and says nothing else.
"$MIXTUNE" sweep --quiet --device "$soft" --shape 8,64,128 --quick --space "$(space 'family: sm80\nvalues:\n  tile_n: [64]\n  stages: [3]\n')" \
    --db "$TMPDIR/whole" >/dev/null 2>&1
"$MIXTUNE" probe --quiet --device "$soft" --db "$TMPDIR/whole" >/dev/null 2>&1
sqlite3 "$TMPDIR/whole" 'PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null
damaged() { # table: sets $TMPDIR/damaged.db
    local page
    page=$(sqlite3 "$TMPDIR/whole" "SELECT rootpage FROM sqlite_master WHERE name = '$1'")
    rm -f "$TMPDIR"/damaged.db*
    cp "$TMPDIR/whole" "$TMPDIR/damaged.db"
    head -c 4096 /dev/zero | tr '\0' '\245' | dd of="$TMPDIR/damaged.db" bs=4096 seek=$((page - 1)) conv=notrunc status=none
}
reads() { # table, command...: the command fails and prints nothing
    local table=$1
    shift
    damaged "$table"
    check "$* of a database whose table $table is damaged" 1 'damaged.db|damaged or cut short' "$MIXTUNE" "$@" --quiet --db "$TMPDIR/damaged.db"
    [ ! -s "$TMPDIR/out" ] || result 'it printed something' "$* prints nothing"
}
for table in measurement config layer run device environment; do
    reads $table show
done
for command in 'show --format t4' 'show --all --json' export report replay correlate; do
    # shellcheck disable=SC2086 # a command and its options
    reads measurement $command
done
reads measurement sweep --device "$soft" --shape 8,64,128 --space quick-sm80-decode
reads measurement sweep --device "$soft" --shape 8,64,128 --space quick-sm80-decode --strategy guided
reads device probe --device "$soft"
reads device_limit show --floor
reads device_limit show --format t4
damaged config
check 'merging a damaged database' 1 'nothing was merged|damaged.db is damaged' "$MIXTUNE" merge --quiet --into "$TMPDIR/whole" "$TMPDIR/damaged.db"

# A cache folder that cannot be written (a file is in its way, which stops root, too) costs time, not results.
echo occupied >"$TMPDIR/occupied"
check 'a cache that cannot be written' 0 'cache|occupied' env MIXTUNE_CACHE_DIR="$TMPDIR/occupied/cache" \
    "$MIXTUNE" verify --quiet --device "$soft" --shape 8,64,128
expect '^2 right' out
result 'the work is done without a cache'

if [ -c /dev/full ]; then
    # shellcheck disable=SC2016 # $MIXTUNE is for the inner shell
    check 'results on a full disk' 1 'full' bash -c '"$MIXTUNE" info --quiet >/dev/full'
fi
# A file system of 64 KiB, where the rights suffice to mount one: small FOLDER COMMAND...
# shellcheck disable=SC2016
small=(unshare -rm bash -c 'mount -t tmpfs -o size=64k tmpfs "$0" && "$@"')
mkdir -p "$TMPDIR/small"
if "${small[@]}" "$TMPDIR/small" true 2>/dev/null; then
    check 'a database on a full disk' 1 'db|full' "${small[@]}" "$TMPDIR/small" "${sweep[@]}" \
        --db "$TMPDIR/small/db" --space "$(space 'family: sm80\nvalues:\n  tile_n: [64]\n')"
else
    skip 'a database on a full disk' 'no right to mount a small file system'
fi

finish
