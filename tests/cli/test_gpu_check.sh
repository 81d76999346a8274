#!/bin/bash
# The comparison of two devices finds what is different, and no wrapper is forgotten. The rest of make gpu-check is rehearsed by
# test_gpu_rehearsal.sh.
# shellcheck source=tests/cli/cases.sh
. tests/cli/cases.sh
# shellcheck source=tests/cli/workers.sh
. tests/cli/workers.sh
: "${BUILD:=build}"
compare=(env LD_PRELOAD="$clock" "$BUILD/tests/gpu/compare")
h100=(--device soft:h100-sxm --against soft:h100-sxm)

# ---- no wrapper without a comparison ----

# The functions of templates/ptx/ in a folder of templates; the kernels of tests/gpu/; the words that they are made of.
wrappers() { sed -n 's|//.*||; s/.*__device__ __forceinline__ [^(]*[ *&]\([A-Za-z0-9_]*\)(.*/\1/p' "$1"/ptx/*.cuh | sort -u; }
words() { sed 's|//.*||' tests/gpu/compare*.cu | grep -oE '[A-Za-z0-9_]+' | sort -u; }
kernels() { sed -n 's/.*\(KERNEL\|__launch_bounds__\)([0-9, ]*) \([a-z0-9_]*\)(const uint.*/\2/p' tests/gpu/compare*.cu | sort -u; }

run 0 "${compare[@]}" --list
awk '$1 != "-" { print $1 }' "$TMPDIR/out" | sort -u | diff - <(kernels) >"$TMPDIR/err" || verdict="$verdict kernels and cases differ; "
missing=$(comm -23 <(wrappers templates) <(words) | tr '\n' ' ')
[ -z "$missing" ] || verdict="$verdict not in tests/gpu/compare*.cu: $missing; "
[ "$(kernels | wc -l)" -ge 30 ] && [ "$(wrappers templates | wc -l)" -ge 45 ] || verdict="$verdict too few were found; "
result "every wrapper of templates/ptx/ is compared"

mkdir "$TMPDIR/more"
cp -R templates/ptx "$TMPDIR/more"
echo 'template <int N> __device__ __forceinline__ uint *brand_new(uint a) {' >"$TMPDIR/more/ptx/new.cuh"
[ "$(comm -23 <(wrappers "$TMPDIR/more") <(words))" = brand_new ] || verdict+=" it is not missed"
result "a wrapper that is not compared is missed"

# ---- differences are found ----

# One side's templates. change FILE FROM TO: every FROM in a line, and there must be one, becomes TO.
broken=$TMPDIR/broken
mkdir "$broken"
cp -R templates/ptx templates/tile tests/gpu/compare*.cu "$broken"
change() {
    grep -qF -- "$2" "$broken/$1" || verdict="$verdict '$2' is no longer in $1; "
    awk -v from="$2" -v to="$3" '{
        while ((i = index($0, from))) {
            printf "%s%s", substr($0, 1, i - 1), to
            $0 = substr($0, i + length(from))
        }
        print
    }' "$broken/$1" >"$broken/changed" && mv "$broken/changed" "$broken/$1"
}
change ptx/copy.cuh "valid ? 16 : 0" "valid ? 16 : 8"
change ptx/copy.cuh "m8n8.x4.shared" "m8n8.x4.trans.shared"
change ptx/mma.cuh "s32.u8.s8.s32" "s32.s8.s8.s32"
change ptx/mma.cuh "f32.bf16.bf16.f32" "f32.f16.f16.f32"
change ptx/convert.cuh "cvt.rn.f16.f32" "cvt.rz.f16.f32"
change tile/dequant.cuh "word[j] >> 4" "word[j] >> 5"
change tile/promote.cuh "return __fmaf_rn(t, sx, acc)" "return __fadd_rn(__fmul_rn(t, sx), acc)"
change ptx/mbarrier.cuh "bar.sync %0, %1;" "bar.sync %0, %1; nanosleep.u32 1;"
change ptx/matrix_store.cuh "x2.trans.shared" "x2.shared"
change ptx/bulk.cuh "[%1, {%2, %3}], [%4];" "[%1, {%3, %2}], [%4];"
run 2 "${compare[@]}" "${h100[@]}" --with MIXTUNE_TEMPLATES="$broken" --only copy_ --only copies_ --only matrix --only mma_u8 --only mma_bf16 --only mma_f16 \
    --only narrow_f16 --only dequantise_c --only promote_c --only box --only halves
for case in async_copy_16 matrix_load mma_u8 'mma_bf16, sums that are exact' 'mma_bf16, sums within' narrow_f16 dequantise_codes \
    promote_convert matrix_store boxes; do
    expect "^not ok [0-9]+ - $case.*(words differ|other)" out
done
for case in async_copy_4 mma_f16 copies_arrive cluster_boxes barriers_of_halves; do
    expect "^ok [0-9]+ - $case" out
done
result "what one side computes otherwise is found, and nothing else"

# A kernel that does not end: the clock, whose case comes before others.
cp templates/ptx/*.cuh "$broken/ptx"
cp templates/tile/*.cuh "$broken/tile"
cp tests/gpu/compare*.cu "$broken"
change compare.cu "i < 200000 && last < first + 2" "last + 1 > first"
run 2 env SOFTGPU_WATCHDOG=1000000000000 "${compare[@]}" "${h100[@]}" --with MIXTUNE_TEMPLATES="$broken" --only common_clock --only promote_fma \
    --only mbarrier_stages --timeout 6
expect "^not ok [0-9]+ - common_clock: on soft:h100-sxm: no answer within 6 s" out
expect "^ok [0-9]+ - promote_fma" out
expect "^ok [0-9]+ - mbarrier_stages" out
# A machine that goes down has the case in its log.
[ "$(grep -B 1 '^not ok' "$TMPDIR/out" | head -n 1)" = "$(sed -n 's/^not ok \([0-9]*\) - common_clock:.*/# \1 common_clock/p' "$TMPDIR/out")" ] ||
    verdict="$verdict the case is not named before it runs; "
result "a kernel that hangs is one failed case"

run 2 "${compare[@]}" "${h100[@]}" --with SOFTGPU_WATCHDOG=2000 --only promote_fma --only widen
expect "^ok [0-9]+ - widen" out
expect "^not ok [0-9]+ - promote_fma: on soft:h100-sxm: .*CUDA_ERROR_LAUNCH_TIMEOUT" out
result "a fault of the device is told with its name"

run 2 "${compare[@]}" "${h100[@]}" --with SOFTGPU_WATCHDOG=2000 --only promote_ --only copies_arrive --give-up 1
[ "$(grep -c '^not ok .*CUDA_ERROR_LAUNCH_TIMEOUT' "$TMPDIR/out")" = 1 ] || verdict="$verdict not one fault; "
expect "^ok [0-9]+ - promote_.* # SKIP sm80 is given up after 1 cases that hung, died or lost the context" out
expect "^ok [0-9]+ - copies_arrive$" out
expect "^# given up: sm80$" out
result "so is a kind of cases that loses the context, which is given up"

# Hopper's: the first two of three hang.
change compare_sm90.cu "KERNEL(128) bulk_copies(const uint *in, uint *out) {" 'KERNEL(128) bulk_copies(const uint *in, uint *out) { for (;;) asm volatile("");'
change compare_sm90.cu "KERNEL(64) copies_arrive(const uint *in, uint *out) {" 'KERNEL(64) copies_arrive(const uint *in, uint *out) { for (;;) asm volatile("");'
run 2 env SOFTGPU_WATCHDOG=1000000000000 "${compare[@]}" "${h100[@]}" --with MIXTUNE_TEMPLATES="$broken" --only promote_fma --only bulk_copies \
    --only copies_arrive --only matrix_store --only 'quantize_act, groups of 64, fp16' --timeout 6 --give-up 2
[ "$(grep -c '^not ok .*no answer within 6 s: it hangs' "$TMPDIR/out")" = 2 ] || verdict="$verdict not two hang; "
expect "^ok [0-9]+ - matrix_store # SKIP sm90 is given up after 2 cases that hung, died or lost the context" out
expect "^ok [0-9]+ - promote_fma" out
expect "^ok [0-9]+ - quantize_act" out
expect "^# given up: sm90$" out
forbid "^# given up: sm80$" out
result "after --give-up the rest of a kind is skipped, and the other kind is not"

# The process of the checked side is the first child, and works while its kernel hangs.
hanging=(env SOFTGPU_WATCHDOG=1000000000000 "${compare[@]}" "${h100[@]}" --with MIXTUNE_TEMPLATES="$broken" --only promote_fma --only bulk_copies --only matrix_store)
export reached='^# [0-9]+ bulk_copies'
for signal in INT TERM KILL; do
    signalled $signal "${hanging[@]}"
    if [ $signal != KILL ]; then
        expect '^# 1 passed, 0 failed, 0 skipped' out
        expect '^compare: interrupted after 1 comparisons' err
    fi
    result "SIG$signal ends both sides while a kernel hangs"
done

crashed 2 "${hanging[@]}"
expect '^not ok [0-9]+ - bulk_copies: on soft:h100-sxm: the process was killed by signal 11' out
expect '^ok [0-9]+ - matrix_store$' out
result "a side that dies is one failed case"
unset reached

finish
