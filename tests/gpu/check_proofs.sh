# shellcheck shell=bash disable=SC2034,SC2153,SC2154 # others set and read these
# Whether kernels compute the right numbers, which families are dropped, and why one is wrong. check.sh sources this.

# ---- beside the software device ----

comparison=("$compare" --device "$device" --kernels "$here" --timeout "$patience" --give-up 2)
# A software device with other settings than the one that it is compared with.
[[ $device != soft:* ]] || comparison+=(--against "$device" --with SOFTGPU_ASYNC=eager --with SOFTGPU_SEED=7)
if [ -n "${MIXTUNE_TEMPLATES:-}" ]; then # changed kernels: those that compare them join them
    cp -R "$MIXTUNE_TEMPLATES" "$work/templates" && cp "$here"/compare*.cu "$work/templates"
    comparison=(env MIXTUNE_TEMPLATES="$work/templates" "${comparison[@]}")
fi

only=()
IFS=, read -ra words <<<"${ONLY:-}"
for word in "${words[@]}"; do
    only+=(--only "$word")
done

# A kernel of a few lines, as the fat binary that we write and as the bare cubin in it.
loads() {
    step "load a kernel" 30 "${comparison[@]}" --only "a kernel loads"
    grep -q '^ok .* a kernel loads as fat binary' "$said"
}

# The names behind "not ok N - ", up to the reason.
failed_cases() { sed -n 's/^not ok [0-9]* - \([^:]*\).*/\1/p' "$1"; }

compare_devices() {
    local line
    step "compare with the software device" 60 "${comparison[@]}" "${only[@]}"
    while read -r line; do # the first stands in the step's line
        echo "        $line" | tee -a "$state/steps"
    done < <(grep -h '^not ok' "$said" 2>/dev/null | sed -n 2,16p | cut -c -220)
    failed_cases "$said" >"$state/failed-cases"
}

# ---- proofs ----

# A family that hung or faulted twice, or of which nothing is right, is dropped; one that is wrong somewhere stays, for a sweep proves each
# candidate, but it is looked into.
judge() { # family
    local right=0 given_up=0
    read -r right < <(grep -c "^right  *$1 " "$said")
    grep -q ' skipped' "$said" && given_up=1
    echo "$1" >>"$state/suspects"
    [ "$given_up" = 1 ] || [ "$right" = 0 ] || return 0
    echo "$1 $right right" >>"$state/dropped"
    echo "        $1 is dropped: nothing after this runs it" | tee -a "$state/steps"
}

verify() { # family, name, options...
    if ! kept "$1"; then
        skip "verify $2" "$1 is dropped"
        return
    fi
    step "verify $2" 40 "$mixtune" verify --device "$device" --timeout "${patience}s" --give-up 2 "${@:3}" || [ "$stopped" = 1 ] || judge "$1"
}

prove() { # family, options of its proofs
    local line shape group dtype
    for line in "${odd[@]}"; do
        read -r shape group dtype <<<"$line"
        verify "$1" "$1 $shape" "${@:2}" --shape "$shape" --scheme w4a8,w8a8 --group "$group" --dtype "$dtype" --bias
        verify "$1" "$1 mixed $shape" --family "$1" --shape "$shape" --scheme p10,p50-sym,w4a8-sym --group "$group" --dtype "$dtype"
    done
    for shape in "${plain[@]}"; do
        verify "$1" "$1 $shape" "${@:2}" --shape "$shape" --scheme w4a8,w8a8
    done
}

# What every baseline and every older GPU needs comes first: should the newest family stop the machine, they are known.
proofs() {
    verify f16 "f16 $f16" "${proof16[@]}" --shape "$f16" --dtype fp16,bf16
    prove sm80 "${proof80[@]}"
    if [ "$cc" = 90 ]; then
        prove sm90 "${proof90[@]}"
        verify sm90 "sm90 $large" --family sm90 --shape "$large" --scheme w4a8,w8a8,p20
    fi
}

# ---- compute-sanitizer ----

sanitizer() {
    local place
    command -v compute-sanitizer && return
    for place in "${CUDA_HOME:-/usr/local/cuda}"/{bin,compute-sanitizer}/compute-sanitizer; do
        [ ! -x "$place" ] || { echo "$place"; return; }
    done
    return 1
}

# Sets $tool, the first time; a machine whose sanitizer does not run says why.
tool=unknown
find_sanitizer() {
    local line
    [ "$tool" = unknown ] || { [ -n "$tool" ]; return; }
    read -r tool < <(sanitizer)
    if [ -z "$tool" ]; then
        skip compute-sanitizer "it is not installed (PATH, CUDA_HOME/bin)"
        return 1
    fi
    timeout $((30 * pace)) "$tool" --tool memcheck --error-exitcode 9 "$mixtune" info --device "$device" >"$work/sanitizer" 2>&1 && return
    cat "$work/sanitizer" >>"$log"
    read -r line < <(grep -v '^ *$' "$work/sanitizer" | tail -n 1)
    tool=
    skip compute-sanitizer "it does not run here: $line"
    return 1
}

sanitized() { # family; sets options: one configuration, of sm90 with clusters and stores by the copy engine
    options=(--family "$1" --shape "$smallest" --scheme w4a8)
    [ "$1" != sm90 ] || options+=(--config "tile_m=32,cluster=2,store=1,zero=1")
}

sanitize() { # tool's check, family, seconds
    local options
    sanitized "$2"
    step "$1 $2" "$3" "$tool" --tool "$1" --error-exitcode 9 --target-processes all "$mixtune" verify --device "$device" "${options[@]}" \
        --timeout "$3s" --quiet
}

memchecks() { # seconds for all
    local family
    find_sanitizer || return
    for family in "${families[@]}" f16; do
        if kept "$family"; then
            sanitize memcheck "$family" $(($1 / 3 + 1))
        else
            skip "memcheck $family" "$family is dropped"
        fi
    done
}

# ---- why ----

knobs_of() { # family: what is tried one at a time
    case $1 in
    sm90) knobs=("" promote=0 promote=1 zero=1 store=1 cluster=2 cluster_k=2 stream_k=1 pingpong=1 share_k=1 yield=1 split_k=2) ;;
    sm80) knobs=("" promote=0 promote=1 zero=1 order=0 split_k=2 warps_m=2) ;;
    *) knobs=("") ;;
    esac
}

why_cases_fail() {
    local name only=()
    while read -r name; do
        [ ${#only[@]} -ge 12 ] || only+=(--only "$name")
    done <"$state/failed-cases"
    [ ${#only[@]} = 0 ] || step "why: the cases that failed, alone" 20 "${comparison[@]}" --give-up 6 "${only[@]}"
}

why_is() { # family
    local knob knobs
    knobs_of "$1"
    ! find_sanitizer || sanitize memcheck "$1" 20
    for knob in "${knobs[@]}"; do
        look
        [ $((left - reserve)) -gt 3 ] || { skip "why: $1, other knobs" "no time is left for them"; return; }
        step "why: $1 ${knob:-as it is by default}" 10 "$mixtune" verify --device "$device" --timeout "${patience}s" --give-up 1 --family "$1" \
            --config "$knob" --shape 33,257,129 --scheme w4a8,w8a8
    done
}

# Of families that were found wrong: the failing cases alone, memory, and the knobs one at a time.
why_families_are_wrong() { # seconds
    local family
    [ -s "$state/suspects" ] || [ -s "$state/failed-cases" ] || return 0
    look
    reserve=$((left - $1))
    why_cases_fail
    while read -r family; do
        why_is "$family"
    done < <(sort -u "$state/suspects" 2>/dev/null)
}

# Nothing loads: everything that tells why, and then no more of a machine that is lent by the minute.
why_nothing_loads() {
    [ "$stopped" = 0 ] || return
    look
    reserve=0 BUDGET=$((BUDGET - left + 60))
    step "why: what the loader does" 10 env LD_DEBUG=libs "$mixtune" info --device "$device"
    step "why: the bare cubin beside the fat binary" 15 "${comparison[@]}" --only "a kernel loads"
    step "why: a verification that says all" 20 env MIXTUNE_LOG=debug "$mixtune" verify --device "$device" --timeout "${patience}s" --shape "$smallest"
    cat >"$work/hello.cu" <<'CU'
#include <cstdio>
__global__ void hello(int *out) { *out = 42; }
int main() {
    int *out, got = 0;
    cudaMalloc(&out, sizeof *out);
    hello<<<1, 1>>>(out);
    cudaMemcpy(&got, out, sizeof got, cudaMemcpyDeviceToHost);
    std::printf("%d, %s\n", got, cudaGetErrorString(cudaGetLastError()));
    return got != 42;
}
CU
    if command -v nvcc >/dev/null; then
        step "why: a program of nvcc's" 30 bash -c "nvcc -arch=native -o $work/hello $work/hello.cu && $work/hello"
    else
        skip "why: a program of nvcc's" "there is no nvcc"
    fi
}
