#!/bin/bash
# What compiles the kernels: where it is found, and that what befalls it, or the machine, is never a kernel's fault. The NVRTC of most
# cases is tests/cli/fake_nvrtc.c before the real one.
# shellcheck source=tests/cli/cases.sh
. tests/cli/cases.sh
real=$(realpath "${CUDA_HOME:-/usr/local/cuda}/lib64")
fake=$TMPDIR/fake
mkdir -p "$fake/lib64" "$TMPDIR/bare/lib64"
gcc -D_GNU_SOURCE -shared -fPIC -Wall -Wextra -Werror -isystem "$real/../include" -o "$fake/lib64/libnvrtc.so.13" tests/cli/fake_nvrtc.c -L"$real" \
    -Wl,--no-as-needed -lnvrtc -Wl,-rpath,"$real" || exit 1
cp "$fake/lib64/libnvrtc.so.13" "$TMPDIR/bare/lib64"
ln -s "$real"/libnvrtc-builtins.so.[0-9]* "$fake/lib64"
printf 'family: sm80\nvalues:\n  tile_n: [128]\n  tile_m: [32]\n' >"$TMPDIR/space.yaml"
# shellcheck disable=SC2054 # a shape holds commas
sweep=("$MIXTUNE" sweep --quiet --device soft:a100-sxm-80g --shape 16,256,256 --quick --space "$TMPDIR/space.yaml" --db)
same() { [ "$(rows "$1")" = "$wanted" ] || verdict+=" other rows in $1; "; }
rows() { sqlite3 "$1" 'SELECT family, config_id, outcome, median_ns FROM fact ORDER BY 1, 2, 3'; }

# Kernels of the baseline come from the tests' cache; those of one family are compiled here.
run 0 "${sweep[@]}" "$TMPDIR/good.db"
mkdir -p "$TMPDIR/cache/kernels"
for binary in $(sqlite3 "$TMPDIR/good.db" "SELECT DISTINCT binary FROM fact WHERE family = 'f16'"); do
    cp "$MIXTUNE_CACHE_DIR/kernels/$binary" "$TMPDIR/cache/kernels"
done
export MIXTUNE_CACHE_DIR=$TMPDIR/cache
wanted=$(rows "$TMPDIR/good.db")
[ "$(wc -l <<<"$wanted")" -ge 3 ] || verdict+=' too few rows; '

# The loader knows of no toolkit, as where a module system sets CUDA_HOME alone.
unknown=(/lib64/ld-linux-x86-64.so.2 --inhibit-cache)
[ -e "${unknown[0]}" ] || unknown=()
rm "$TMPDIR/good.db"
run 0 env -u LD_LIBRARY_PATH CUDA_HOME="$fake" "${unknown[@]}" "${sweep[@]}" "$TMPDIR/good.db"
same "$TMPDIR/good.db"
version=$(sqlite3 "$TMPDIR/good.db" "SELECT printf('%d.%d', nvrtc_version / 100, nvrtc_version / 10 % 10) FROM environment")
[ "$(sqlite3 "$TMPDIR/good.db" 'SELECT DISTINCT nvrtc FROM run')" = "$version, $fake/lib64/libnvrtc.so.13" ] || verdict+=' the run does not say what compiled; '
result 'NVRTC finds its builtins beside it, and the run says which it is'

run 0 env -u LD_LIBRARY_PATH CUDA_HOME="$TMPDIR/bare" "${unknown[@]}" "$MIXTUNE" info --device soft:a100-sxm-80g
if [ ${#unknown[@]} -gt 0 ]; then
    cat "$TMPDIR/out" >>"$TMPDIR/err"
    expect "$TMPDIR/bare/lib64/libnvrtc.so.13: it compiles nothing without libnvrtc-builtins.so.$version, which .* neither in $TMPDIR/bare/lib64 nor" err
fi
result 'an NVRTC without builtins is not used, and told'

# What the loader knows is the next place. The command and its worker open NVRTC, and one of them tells.
next=(env LD_LIBRARY_PATH="$real${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}")
mkdir "$TMPDIR/empty"
sentence 0 "warning: CUDA_HOME is passed over: $TMPDIR/none: No such file|$real/libnvrtc.so" "${next[@]}" CUDA_HOME="$TMPDIR/none" \
    "${sweep[@]}" "$TMPDIR/next.db"
same "$TMPDIR/next.db"
run 0 "${next[@]}" CUDA_HOME="$TMPDIR/empty" FAKE_NVRTC_VERSION='12 3' "$MIXTUNE" info --device soft:a100-sxm-80g
expect "CUDA_HOME is passed over: $TMPDIR/empty has no libnvrtc.so.13 or .12" err
expect "^          $real/libnvrtc.so" out
run 0 "${next[@]}" CUDA_HOME="$fake" FAKE_NVRTC_VERSION='12 3' "$MIXTUNE" info --device soft:a100-sxm-80g
expect "$fake/lib64/libnvrtc.so.13: it is NVRTC 12.3, and 12.4 or later is needed; $real/libnvrtc.so" err
result 'a CUDA_HOME that cannot be used is passed over, and told once; one of before 12.4 too'

# faulty CODE FAIL: a sweep whose kernel is not in the cache, and whose compiler fails.
image=$(sqlite3 "$TMPDIR/good.db" "SELECT DISTINCT binary FROM fact WHERE family = 'sm80'")
faulty() {
    rm -f "$TMPDIR/cache/kernels/$image" "$TMPDIR/faulty.db"
    run "$1" env CUDA_HOME="$fake" FAKE_NVRTC_FAIL="$2" "${sweep[@]}" "$TMPDIR/faulty.db"
}
blamed() { sqlite3 "$TMPDIR/faulty.db" "SELECT DISTINCT outcome || ' ' || tries || ' ' || message FROM measurement WHERE outcome <> 'ok'"; }
for log in '6 1 gemm.cu(7): catastrophic error: out of memory' '6 1 gemm.cu(7): error: no such thing'; do
    faulty 0 "$log"
    same "$TMPDIR/faulty.db"
done
result 'what fails once is compiled again'

for log in '6 0 gemm.cu(7): catastrophic error: out of memory' '6 0 ptxas fatal   : Ptx assembly aborted due to errors' '6 0 ' '1 0 ' '11 0 ' \
    '7 0 nvrtc: error: failed to open libnvrtc-builtins.so' crash; do
    faulty 1 "$log"
    expect '^mixtune: .*gemm_sm80.cu ' err
    [ -z "$(blamed)" ] || verdict+=" $(blamed) after $log; "
done
run 0 env CUDA_HOME="$fake" "${sweep[@]}" "$TMPDIR/faulty.db"
same "$TMPDIR/faulty.db"
result 'what befalls the compiler ends the sweep with a sentence, blames no kernel, and the next run completes it'

faulty 1 $'6 0 gemm.cu(3): warning: out of memory\ngemm.cu(7): error: no \x1b[31m thing \xff\n  out of memory\n1 error detected'
[ "$(blamed)" = 'compile-failed 2 gemm_sm80.cu does not compile for sm_80: gemm.cu(7): error: no \x1b[31m thing \xff' ] || verdict+=" not '$(blamed)'; "
result 'what the compiler finds wrong twice is the kernel'\''s failure, in one line that can be printed'
# Short of file descriptors, for ever or for a moment: in this machine's files, the cache, the templates.
gcc -D_GNU_SOURCE -shared -fPIC -Wall -Wextra -Werror -o "$TMPDIR/short.so" tests/cli/short_of.c || exit 1
mkdir "$TMPDIR/templates" && cp templates/gemm_sm80.cu "$TMPDIR/templates"
short() { # shell words before the command
    rm -f "$TMPDIR/cache/kernels/$image" "$TMPDIR/faulty.db"
    bash -c "$1; \"\$@\"" short env MIXTUNE_TEMPLATES="$TMPDIR/templates" "${sweep[@]}" "$TMPDIR/faulty.db" >"$TMPDIR/out" 2>"$TMPDIR/err"
    case $? in
    0) ;;
    1)
        expect '^mixtune: .*(Too many open files|SQLite)' err
        [ -z "$(blamed)" ] || verdict+=" $(blamed) after $1; "
        run 0 "${sweep[@]}" "$TMPDIR/faulty.db"
        ;;
    *) verdict+=" neither completed nor failed after $1; " ;;
    esac
    same "$TMPDIR/faulty.db"
}
for limit in 8 30; do short "ulimit -n $limit"; done
for first in 9 16 20; do short "export LD_PRELOAD=$TMPDIR/short.so SHORT_OF='$first 4 24'"; done
result 'a sweep that is short of file descriptors completes or says so, blames no kernel, and the next run completes it'
finish
