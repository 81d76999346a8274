#!/bin/bash
# What can only be seen on a real GPU, in one command and under 8 minutes.
#
#   make gpu-check OUT=DIR                                       builds the archive of `make dist` and runs this from it
#   tar xzf mixtune-*.tar.gz && mixtune-*/libexec/check.sh DIR   on another machine: the driver, NVRTC and cuBLAS are all it needs
#   tests/gpu/check.sh DIR                                       from a built source tree
#
# Steps, none of which stops the others: describe the device; compare each PTX wrapper and kernel family with the software device, bit by
# bit; prove a spread of configurations and odd shapes; compute-sanitizer, where it is installed; probe what the device can do; time the
# kernels of others, where python3 has PyTorch; a timed sweep with what is left of the budget; plots, tables, a dispatch file that a program
# uses. The same candidates are modelled on the software device meanwhile, so that model and measurement can be set against each other.
#
# DIR (default: gpu-check) gets at most eight files: gpu-check.log with the output of every step, summary.txt with the table that is printed
# last, check.db, check.mixtune, check.t4.json.gz, peers.json, report.html, and more.tar.gz with the report's plots and data and the trace of
# the time model, which tests/gpu/soft_calibrate reads. Exit code 0: every step passed; 1: one failed; 69: no device, or something that it
# needs is missing; 75: stopped by ^C or SIGTERM, and DIR has what there was.
#
# MIXTUNE_DEVICE  the device (cuda:0); soft:NAME rehearses all of this without a GPU, with times that are modelled
# BUDGET          seconds for everything (450)
# REHEARSE=1      few and small shapes: shows in seconds that every step works
# ONLY            words, separated by commas: only comparisons whose name holds one of them
set -u -m # each step is a process group of its own
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
OUT=$(realpath -m "${1:-${OUT:-gpu-check}}")
BUDGET=${BUDGET:-450}
REHEARSE=${REHEARSE:-0}
device=${MIXTUNE_DEVICE:-cuda:0}
export MIXTUNE_DEVICE=$device
if [ -x "$here/../bin/mixtune" ]; then
    root=$(realpath "$here/..")
    mixtune=$root/bin/mixtune compare=$here/compare dispatch=$here/dispatch
    : "${MIXTUNE_CACHE_DIR:=$root/cache}" "${MIXTUNE_CONFIGS:=$root/share/mixtune/configs}"
else
    root=$(realpath "$here/../..") build=$(realpath "${BUILD:-$here/../../build}")
    mixtune=$build/mixtune compare=$build/tests/gpu/compare dispatch=$build/example/dispatch
    : "${MIXTUNE_CACHE_DIR:=$build/cache}" "${MIXTUNE_CONFIGS:=$root/configs}"
fi
export MIXTUNE_CACHE_DIR MIXTUNE_CONFIGS
log=$OUT/gpu-check.log db=$OUT/check.db
mkdir -p "$OUT" && : >"$log" || exit 1
rm -f "$OUT"/{summary.txt,peers.json,check.mixtune,check.t4.json.gz,report.html,more.tar.gz} # an earlier run's; the database goes on
work=$(mktemp -d) && mkdir "$work/more" || exit 1

# ---- steps ----

# Steps do without $(...): while bash 5.2 is busy with one it cannot run a trap, and a signal would be lost.
tick() { now=$((${EPOCHREALTIME/[.,]/} / 1000)); } # milliseconds
tick
began=$now
look() { tick && left=$((BUDGET - (now - began) / 1000)); } # seconds
steps=() # lines of the table
failed=0 stopped=0 child=0 modeller=0 also=0 signal=TERM
reserve=0 # seconds of the budget that are not this part's to spend

# shellcheck disable=SC2317 # a trap calls it
stop() {
    stopped=1
    [ "$child" = 0 ] || kill -INT "$child" 2>/dev/null
}
trap stop INT TERM HUP
finish_modeller() {
    [ "$modeller" = 0 ] || kill -INT -- "-$modeller" 2>/dev/null
    modeller=0
}
trap 'finish_modeller; rm -rf "$work"' EXIT

settle() { # state, name, seconds, remark
    local line
    printf -v line '%-7s %6.1f s  %s%s' "$1" "$3" "$2" "${4:+: $4}"
    steps+=("$line")
    echo "$line"
    echo "$line" >>"$log"
    [ "$1" != failed ] || failed=1
}

skip() { [ "$stopped" = 1 ] || settle skipped "$1" 0 "$2"; } # name, why

# step NAME LIMIT COMMAND...: its output is in $said, and then in the log. Exit code $also is good, too. A step over its limit has failed.
said=$work/said
step() {
    local name=$1 limit=$2 code=0 ms remark=
    shift 2
    [ "$stopped" = 0 ] || return 1
    look
    [ "$limit" -lt $((left - reserve)) ] || limit=$((left - reserve))
    [ "$limit" -gt 0 ] || { settle failed "$name" 0 "no time is left for it in $BUDGET s"; return 1; }
    printf '\n== %s (at most %d s)\n$ %s\n' "$name" "$limit" "$*" >>"$log"
    ms=$now
    timeout --signal="$signal" --kill-after=10 "$limit" "$@" >"$said" 2>&1 </dev/null &
    child=$!
    while :; do
        { wait "$child"; code=$?; } 2>/dev/null # the shell has a word on who was killed
        kill -0 "$child" 2>/dev/null || break # else a trap ended the wait, not the child
    done
    child=0
    tick
    ms=$((now - ms))
    cat "$said" >>"$log"
    if [ "$code" = 0 ] || [ "$code" = "$also" ]; then
        settle ok "$name" "$ms"e-3
        return 0
    fi
    [ "$stopped" = 0 ] || code=stopped
    case $code in
    stopped) remark="stopped by a signal; no step after it was run" ;;
    124 | 137) remark="over its limit of $limit s" ;;
    13[0-9] | 14[0-9]) remark="killed by signal $((code - 128))" ;;
    *) remark="exit code $code: $( (grep -m 1 '^not ok' "$said" || grep -v '^ *$' "$said" | tail -n 1) | cut -c -300)" ;;
    esac
    settle failed "$name" "$ms"e-3 "$remark"
    return 1
}

# ---- what the machine has ----

# Folders that the loader does not know by itself: a toolkit's, and those of Python packages.
find_libraries() {
    local nvcc folder folders=()
    nvcc=$(command -v nvcc) && folders+=("$(dirname "$(dirname "$(realpath "$nvcc")")")")
    for folder in "${CUDA_HOME:-}" "${folders[@]}" /usr/local/cuda /usr/local/cuda-1[3-9]* /usr/local/cuda-12*; do
        compgen -G "$folder/lib64/libnvrtc.so.1[23]" >/dev/null || continue
        export CUDA_HOME=$folder LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder/lib64
        break
    done
    while read -r folder; do
        export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder
    done < <(python3 -c 'import glob, sys
for path in sys.path:
    print("\n".join(glob.glob(path + "/nvidia/*/lib")))' 2>/dev/null | grep .)
}

describe() {
    echo "$ $mixtune info --device $device"
    "$mixtune" info --device "$device" || return
    echo "$(uname -srm), $(nproc) cores, $(ldd --version 2>&1 | head -n 1); CUDA_HOME ${CUDA_HOME:-unset}, LD_LIBRARY_PATH ${LD_LIBRARY_PATH:-unset}"
    if [[ $device == cuda* ]] && command -v nvidia-smi >/dev/null; then
        nvidia-smi -q -d CLOCK,POWER,TEMPERATURE,PERFORMANCE,ECC
    fi
}

find_libraries
describe >"$work/info" 2>&1
code=$?
cat "$work/info" >>"$log"
if [ "$code" != 0 ]; then
    grep -v '^\$' "$work/info" | grep -m 1 mixtune: >&2 || tail -n 1 "$work/info" >&2
    rm "$log"
    exit "$code"
fi
gpu=$(sed -n 's/^device *[^ ]*: //p' "$work/info" | sed 's/ (times are modelled)$//')
cc=$(sed -n 's/^ *compute capability \([0-9]*\)\.\([0-9]*\).*/\1\2/p' "$work/info")
origin=measured
[[ $device != soft:* ]] || origin=modelled
case $cc:$gpu in
90:*H200* | 90:*h200*) model=soft:h200 ;;
9*) model=soft:h100-sxm ;;
89:*4090*) model=soft:rtx-4090 ;;
89:*) model=soft:l40s ;;
*) model=soft:a100-sxm-80g ;;
esac
tick
settle ok "describe: $gpu" "$((now - began))e-3" "$(sed -n 's/^ *\(driver API [^,]*\).*/\1/p; s/^compiler *\(.*\),.*/, \1/p' "$work/info" | tr -d '\n')"

# ---- what is run ----

# shellcheck disable=SC2054 # shapes and knobs hold commas
if [ "$REHEARSE" = 1 ]; then
    odd=("1,100,300 128 fp16") sm90_odd=(33,257,129) all=() plain=(5,256,256) large=5,256,256 f16=3,40,136 sanitized=9,136,136
    proof80=(--family sm80) proof90=(--family sm90)
    work_of_sweep=(--model qwen2.5-0.5b --layers o --m 1,16 --scheme w4a8) portions=(1 2) peer_work=(--shape 16,96,512)
else
    odd=("1,100,300 64 fp16" "33,257,129 128 bf16" "130,48,1000 256 fp16") sm90_odd=(33,257,129 130,700,1000) all=(--all)
    plain=(1,4096,4096 256,6144,4096) large=1024,4096,14336 f16=33,264,136 sanitized=33,264,300
    proof80=(--space proof-sm80) proof90=(--space proof-sm90,proof-sm90-clusters)
    work_of_sweep=(--model llama-3.1-8b --m "1,16,64,256,1024,4096" --scheme "w4a8,w8a8") portions=(3 12 48 100000)
    peer_work=(--model llama-3.1-8b --m "1,16,256,4096")
fi
families=(sm80)
[ "$cc" != 90 ] || families+=(sm90)

# The model needs no GPU: it goes on beside the steps.
model_sweeps() {
    local portion
    renice -n 10 $BASHPID
    for portion in "${portions[@]}"; do
        SOFTGPU_TRACE=$work/more/trace "$mixtune" sweep --quick --device "$model" "${work_of_sweep[@]}" --max-configs "$portion" --finals 0 --quiet --db "$work/modelled.db"
    done
}
model_sweeps >"$work/modelled.txt" 2>&1 </dev/null &
modeller=$!

# ---- comparisons and proofs ----

comparison=("$compare" --device "$device" --kernels "$here")
# A software device with other settings than the one that it is compared with.
[[ $device != soft:* ]] || comparison+=(--against "$device" --with SOFTGPU_ASYNC=eager --with SOFTGPU_SEED=7)
IFS=, read -ra words <<<"${ONLY:-}"
for word in "${words[@]}"; do
    comparison+=(--only "$word")
done
if [ -n "${MIXTUNE_TEMPLATES:-}" ]; then # changed kernels: those that compare them join them
    cp -R "$MIXTUNE_TEMPLATES" "$work/templates" && cp "$here"/compare*.cu "$work/templates"
    comparison=(env MIXTUNE_TEMPLATES="$work/templates" "${comparison[@]}")
fi
reserve=$((BUDGET / 2))
step "compare with the software device" 120 "${comparison[@]}"
while read -r line; do # the first stands in the step's line
    steps+=("        $line")
    echo "        $line"
done < <(grep -h '^not ok' "$said" 2>/dev/null | sed -n 2,16p | cut -c -220)

verify() { # name, options...
    step "verify $1" 45 "$mixtune" verify --device "$device" "${@:2}"
}
for line in "${odd[@]}"; do
    read -r shape group dtype <<<"$line"
    verify "sm80 $shape" "${proof80[@]}" --shape "$shape" --scheme w4a8,w8a8 --group "$group" --dtype "$dtype" --bias
    verify "mixed $shape" --shape "$shape" --scheme w4.4a8,w6a8 --group "$group" --dtype "$dtype"
done
for shape in "${plain[@]}"; do
    verify "sm80 $shape" "${proof80[@]}" --shape "$shape" --scheme w4a8,w8a8
done
if [ "$cc" = 90 ]; then
    for shape in "${sm90_odd[@]}" "${plain[@]}"; do
        verify "sm90 $shape" "${proof90[@]}" --shape "$shape" --scheme w4a8,w8a8
    done
    verify "sm90 $large" --family sm90 --shape "$large" --scheme w4a8,w8a8,w4.8a8
fi
verify "f16 $f16" --family f16 "${all[@]}" --shape "$f16" --dtype fp16,bf16

# ---- compute-sanitizer ----

sanitizer() {
    local place
    command -v compute-sanitizer && return
    for place in "${CUDA_HOME:-/usr/local/cuda}"/{bin,compute-sanitizer}/compute-sanitizer; do
        [ ! -x "$place" ] || { echo "$place"; return; }
    done
    return 1
}
if ! tool=$(sanitizer); then
    skip compute-sanitizer "it is not installed (PATH, CUDA_HOME/bin)"
elif ! "$tool" --tool memcheck --error-exitcode 9 "$mixtune" info --device "$device" >"$work/sanitizer" 2>&1; then
    cat "$work/sanitizer" >>"$log"
    skip compute-sanitizer "it does not run here: $(grep -v '^ *$' "$work/sanitizer" | tail -n 1)"
else
    for family in "${families[@]}" f16; do
        way=() # the sm90 family with clusters and stores by the copy engine
        [ "$family" != sm90 ] || way=(--config "tile_m=32,cluster=2,store=1,zero=1")
        for check in memcheck racecheck synccheck; do
            step "$check $family" 40 "$tool" --tool "$check" --error-exitcode 9 --target-processes all "$mixtune" verify \
                --device "$device" --family "$family" "${way[@]}" --shape "$sanitized" --scheme w4a8 --quiet
        done
    done
fi

# ---- times ----

step "probe the device's limits" 45 "$mixtune" probe --device "$device" --db "$db" --quiet

reserve=$((BUDGET / 3))
if ! python3 -c 'import torch' 2>/dev/null; then
    skip "peers" "python3 has no PyTorch"
elif [ ! -e "$here/peers.py" ]; then
    skip "peers" "peers.py is not beside $0"
elif [ "$origin" = measured ]; then
    signal=INT also=75
    step "peers" 90 python3 "$here/peers.py" --mixtune "$mixtune" --device "$device" "${peer_work[@]}" --budget 75s --out "$OUT/peers.json"
    signal=TERM also=0
else
    step "peers, their numbers alone" 90 python3 "$here/peers.py" --rehearse "${peer_work[@]}" --out "$work/peers.json"
fi

# First a few configurations of each problem, so that all have a row whatever time is left; then more; at last all, with finals.
reserve=$((BUDGET / 10))
signal=INT also=75
for portion in "${portions[@]}"; do
    look
    seconds=$((left - reserve))
    if [ "$seconds" -lt 20 ]; then
        if [ "$portion" = "${portions[0]}" ]; then
            [ "$stopped" = 1 ] || settle failed "sweep" 0 "no time is left for it in $BUDGET s"
            break
        fi
        skip "sweep, up to $portion of each family" "no time is left"
        continue
    fi
    finals=(--finals 0)
    [ "$portion" != "${portions[-1]}" ] || finals=()
    step "sweep, up to $portion of each family" "$seconds" "$mixtune" sweep --quick --device "$device" "${work_of_sweep[@]}" --quiet \
        --timeout 20s --db "$db" --max-configs "$portion" "${finals[@]}" --time-limit $((seconds - 12))s || continue
    sed -n 's/^mixtune: \(stopped at the time limit.*\)/        (\1)/p' "$said"
done
signal=TERM also=0 reserve=0

# ---- what comes of it ----

if [ "$REHEARSE" = 1 ] && [ "$stopped" = 0 ]; then
    wait "$modeller" # it has little to do
fi
finish_modeller
cat "$work/modelled.txt" >>"$log" 2>/dev/null
more=()
for file in "$work/modelled.db" "$OUT/peers.json"; do
    [ ! -e "$file" ] || more+=("$file")
done
if [ ${#more[@]} -gt 0 ]; then
    step "merge what was modelled, and the peers" 20 "$mixtune" merge --into "$db" "${more[@]}"
else
    skip "merge what was modelled, and the peers" "there is neither"
fi
correlation=
if [ "$origin" = modelled ]; then
    skip "correlate model and measurement" "nothing was measured: all times are modelled"
elif step "correlate model and measurement" 20 "$mixtune" correlate --db "$db" --gpu "$gpu" --quiet; then
    correlation=$(cat "$said")
fi
step "show" 10 "$mixtune" show --db "$db" --gpu "$gpu" --format csv --quiet
if [ -e "$OUT/peers.json" ]; then
    step "show --peers" 10 "$mixtune" show --db "$db" --gpu "$gpu" --peers
fi
step "show --floor" 10 "$mixtune" show --db "$db" --gpu "$gpu" --floor
if command -v gnuplot >/dev/null; then
    step "report" 60 "$mixtune" report --db "$db" --gpu "$gpu" --out "$work/more/report" --quiet &&
        cp "$work/more/report/index.html" "$OUT/report.html"
else
    skip "report" "there is no gnuplot here; where it is: mixtune report --db $(basename "$OUT")/check.db --out report"
fi
step "export" 30 "$mixtune" export --db "$db" --gpu "$gpu" --out "$OUT/check.mixtune" --quiet
if [ -e "$OUT/check.mixtune" ] || [ "$stopped" = 1 ]; then
    step "dispatch from what was exported" 30 "$dispatch" "$OUT/check.mixtune"
else
    settle failed "dispatch from what was exported" 0 "nothing was exported"
fi
# shellcheck disable=SC2016 # the inner shell's
step "T4 file" 20 bash -c 'set -o pipefail; "$1" show --db "$2" --format t4 --quiet | gzip >"$3"' - "$mixtune" "$db" "$OUT/check.t4.json.gz"

# ---- the table ----

# A cell of quoted CSV may hold commas; knobs that are off say nothing.
winners() {
    awk -v origin="$origin" '
        {
            n = split($0, part, "\"")
            $0 = part[1]
            for (i = 2; i <= n; i++) {
                if (i % 2 == 0) gsub(/,/, ";", part[i])
                $0 = $0 part[i]
            }
            n = split($0, cell, ",")
        }
        NR == 1 { for (i = 1; i <= n; i++) at[cell[i]] = i; next }
        cell[at["origin"]] != origin || cell[at["cache"]] != "cold" { next }
        {
            knobs = ";" cell[at["config"]]
            gsub(/;[a-z0-9_]+=0/, "", knobs)
            gsub(/;(blocks|cluster|cluster_k|ctas|split_k|raster|warps_m)=1/, "", knobs)
            sub(/^;/, "", knobs)
            gsub(/;/, ",", knobs)
            printf "%-8s %5d %-6s %10.2f %10.2f %-13s %6.2f  %s %s\n", cell[at["layer"]], cell[at["M"]], cell[at["scheme"]],
                cell[at["time_us"]], cell[at["baseline_us"]], cell[at["baseline"]], cell[at["ratio"]], cell[at["family"]], knobs
        }' "$work/winners.csv"
}
summary() {
    "$mixtune" show --db "$db" --gpu "$gpu" --format csv --quiet >"$work/winners.csv" 2>/dev/null
    tick
    printf '\n%s: %s (%s), %d s of %d\n' "$device" "$gpu" "$origin times" $(((now - began) / 1000)) "$BUDGET"
    printf '%s\n' "${steps[@]}"
    [ "$origin" = measured ] || echo "MODELLED: the times below are modelled on a software device and no speed-up of a real GPU."
    printf '%-8s %5s %-6s %10s %10s %-13s %6s  %s\n' layer M scheme us fp16-us fp16-kernel ratio winner
    winners
    [ -z "$correlation" ] || printf '%s\n' "$correlation"
    echo "results are in $OUT ($(find "$OUT" -type f -printf '%f ' | tr -d '\n'))"
}
tar -C "$work" -czf "$OUT/more.tar.gz" more
summary >"$OUT/summary.txt"
cat "$OUT/summary.txt"
[ "$stopped" = 0 ] || exit 75
exit "$failed"
