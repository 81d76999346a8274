#!/bin/bash
# What can only be seen on a real GPU, for a GPU that can be had for minutes.
#
#   check.sh [triage|rest|all] [OUT] [--budget SECONDS]
#
#   triage   aims at 180 s: what the machine is, whether kernels load, every PTX wrapper and kernel family beside the software device bit
#            by bit, proofs, limits, and a first table: a few candidates of each problem, those that the model puts first
#   rest     uses all of its budget (400 s): more candidates, samples for the rank correlation, the kernels of others, memcheck, finals in
#            turns, plots, dispatch. Goes on from what triage left. Where triage found a family wrong, it first tells why
#   all      triage, and rest only if nothing failed (560 s). The default
#
# It runs from the archive of `make gpu-archive` (libexec/check.sh), which carries compiled kernels and modelled times, from that of `make
# dist`, or from a built source tree. The driver, and cuBLAS for baselines, are all that it needs; without compiled kernels NVRTC too.
#
# What it has, it keeps in STATE, a folder for each type of GPU: run it again and it goes on from there, whatever killed it. OUT (default:
# gpu-check) only gets copies, after each step and every few seconds of a long one, never more than eight files: gpu-check.log with the output
# of every step, summary.txt with the table that is printed last, check.db, check.mixtune, check.t4.json.gz, report.html, and more.tar.gz
# with peers.json, sample.db, the report's plots and the trace of the time model (tests/gpu/soft_calibrate reads it).
#
# A family of kernels that hangs or faults twice is dropped, and the others go on. Exit code 0: every step passed; 1: one failed; 64: usage;
# 69: no device, or something that it needs is missing; 75: stopped by ^C or SIGTERM.
#
# MIXTUNE_DEVICE  the device (cuda:0); soft:NAME rehearses all of this without a GPU, with times that are modelled
# STATE           where the state is kept (default: state/ in the archive, build/gpu-state in the tree)
# FILLED          in the tree: what fill.sh made (build/gpu)
# REHEARSE=1      few and small shapes: shows within a minute that every step works
# PLAN            a file with another plan: it sets what check_plan.sh sets, such as sweep_work=(--model mistral-7b-v0.3 --m 1:256:x2)
# ONLY            words, separated by commas: only comparisons whose name holds one of them
# PATIENCE        seconds without a sign of life after which a kernel hangs (8); REFRESH: seconds between two copies (20)
set -u -m # each step is a process group of its own
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python_path=${LD_LIBRARY_PATH-} # Python has libraries of its own: it starts with the path that it would have without us

usage() {
    echo "check.sh: $1; usage: check.sh [triage|rest|all] [OUT] [--budget SECONDS]" >&2
    exit 64
}
part=all OUT=${OUT:-gpu-check} BUDGET=${BUDGET:-}
case ${1:-} in
triage | rest | all)
    part=$1
    shift
    ;;
esac
while [ $# -gt 0 ]; do
    case $1 in
    --budget)
        BUDGET=${2:-}
        [[ $BUDGET =~ ^[1-9][0-9]*$ ]] || usage "--budget takes seconds, not '$BUDGET'"
        shift
        ;;
    -*) usage "there is no option $1" ;;
    *) OUT=$1 ;;
    esac
    shift
done
declare -A usual=([triage]=180 [rest]=400 [all]=560)
: "${BUDGET:=${usual[$part]}}"
[[ $BUDGET =~ ^[1-9][0-9]*$ ]] || usage "BUDGET is a number of seconds, not '$BUDGET'"
OUT=$(realpath -m "$OUT")

device=${MIXTUNE_DEVICE:-cuda:0}
export MIXTUNE_DEVICE=$device
if [ -x "$here/../bin/mixtune" ]; then
    root=$(realpath "$here/..") store=$root
    mixtune=$root/bin/mixtune compare=$here/compare dispatch=$here/dispatch
    : "${MIXTUNE_CACHE_DIR:=$root/cache}" "${MIXTUNE_CONFIGS:=$root/share/mixtune/configs}" "${STATE:=$root/state}"
else
    root=$(realpath "$here/../..") build=$(realpath "${BUILD:-$here/../../build}")
    store=${FILLED:-$build/gpu}
    mixtune=$build/mixtune compare=$build/tests/gpu/compare dispatch=$build/example/dispatch
    : "${MIXTUNE_CACHE_DIR:=$build/cache}" "${MIXTUNE_CONFIGS:=$root/configs}" "${STATE:=$build/gpu-state}"
fi
export MIXTUNE_CACHE_DIR MIXTUNE_CONFIGS
# What was carried here may belong to another user, or be open to others, and mixtune runs no images of such: then these are a copy.
own_images() {
    local images=$store/images
    if find "$images" ! -uid "$(id -u)" -o -perm /022 | grep -q .; then
        images=$MIXTUNE_CACHE_DIR-images
        rm -rf "$images"
        mkdir -p "$images"
        cp -R --no-preserve=mode,ownership "$store/images/." "$images"
        chmod -R go-w "$images"
    fi
    export MIXTUNE_IMAGES=${MIXTUNE_IMAGES-$images}
}
[ ! -s "$store/images/nvrtc" ] || own_images

# shellcheck source=tests/gpu/check_steps.sh
. "$here/check_steps.sh"
# shellcheck source=tests/gpu/check_machine.sh
. "$here/check_machine.sh"
find_libraries
describe_or_leave # the device's name says where the state is
open_state
# shellcheck source=tests/gpu/check_plan.sh
. "$here/check_plan.sh"
# shellcheck source=tests/gpu/check_proofs.sh
. "$here/check_proofs.sh"
# shellcheck source=tests/gpu/check_times.sh
. "$here/check_times.sh"
# shellcheck source=tests/gpu/check_tables.sh
. "$here/check_tables.sh"

triage() {
    first_steps
    if loads; then
        compare_devices
        proofs
        probe
        sweep_to "$first"
    else
        why_nothing_loads
        part=none
    fi
}

rest() {
    look
    sweeping=0 resting=$now
    local budget=$left
    local finals=$((budget / 7)) peers=$((budget / 6)) last=$((budget / 13))
    [ "$finals" -le 60 ] || finals=60
    [ "$peers" -le 75 ] || peers=75
    why_families_are_wrong $((budget / 6))
    reserve=$((finals + peers + last))
    [ -e "$state/probed" ] || probe
    if [ ! -s "$state/swept" ]; then # triage had no time for all of it, or there was none
        take_in "$modelled.db" "$db"
        sweep_to "$first"
    fi
    for portion in "${portions[@]}"; do
        sweep_to "$portion"
        if [ "$portion" = "${portions[0]}" ]; then # what one wants to know in any case comes before the finer search
            samples
            reserve=$((finals + last))
            peers "$peers"
            memchecks $((budget / 7))
        fi
    done
    reserve=$last
    finals
    reserve=0
}

hold_device
begin_part "$part"
if [ "$opens" = 0 ]; then
    settle failed "open the device" 0 "$(grep -m 1 mixtune: "$work/info")"
    why_nothing_loads
    part=none
fi
[ "$part" != all ] || reserve=$((BUDGET * 3 / 5)) # the second part's
[ "$part" = rest ] || [ "$part" = none ] || triage
reserve=0
if [ "$part" = rest ] || { [ "$part" = all ] && [ "$failed" = 0 ]; }; then
    rest
elif [ "$part" = all ] && [ "$stopped" = 0 ]; then
    settle skipped "the rest" 0 "something failed: mend it, or go on with check.sh rest"
fi
[ "$part" = none ] || tables
publish_all
cat "$state/summary.txt"
echo "results are in $OUT; the state is in $state"
[ "$stopped" = 0 ] || exit 75
exit "$failed"
