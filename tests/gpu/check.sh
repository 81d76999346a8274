#!/bin/bash
# What can only be seen on a real GPU: tests/gpu/check.sh [OUT]
# Describes the device, proves a spread of shapes and every way of computing them, then goes once from sweep to plots. Leaves its
# results in OUT ($OUT, or $BUILD/gpu-check). Exit code 69 and one sentence where there is no CUDA device.
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
OUT=${1:-${OUT:-$BUILD/gpu-check}}
device=${MIXTUNE_DEVICE:-cuda:0}
export MIXTUNE_CACHE_DIR=${MIXTUNE_CACHE_DIR:-$BUILD/cache}
mixtune=$BUILD/mixtune

mkdir -p "$OUT"
"$mixtune" info --device "$device" >"$OUT/info.txt" || exit
failed=0
step() { # name, command: its output goes to OUT/NAME.txt
    local name=$1
    shift
    if "$@" >"$OUT/$name.txt" 2>"$OUT/$name.err"; then
        echo "ok - $name"
    else
        echo "not ok - $name (exit code $?): $(tail -n 1 "$OUT/$name.err")"
        failed=1
    fi
}

# Every way of computing the same numbers, on odd shapes; then the kernels that a sweep would time, on plain ones.
while read -r shape group dtype; do
    step "verify-proof-$shape" "$mixtune" verify --device "$device" --all --space proof-sm80 --shape "$shape" \
        --scheme w4a8,w8a8 --group "$group" --dtype "$dtype" --bias
    step "verify-mixed-$shape" "$mixtune" verify --device "$device" --shape "$shape" --scheme w4.4a8,w6a8 --group "$group" \
        --dtype "$dtype"
done <<END
1,100,300 64 fp16
33,257,129 128 bf16
130,48,1000 256 fp16
END
if grep -q 'compute capability 9.0' "$OUT/info.txt"; then
    step verify-proof-sm90 "$mixtune" verify --device "$device" --all --space proof-sm90 --shape 33,257,129 --shape 130,700,1000 \
        --scheme w4a8,w8a8 --bias
    for scheme in w4a8 w8a8 w4.8a8; do
        step "verify-sm90-$scheme" "$mixtune" verify --device "$device" --family sm90 --shape 1024,4096,4096 --scheme "$scheme"
    done
fi
for shape in 1,4096,4096 17,4096,4096 256,6144,4096 1024,4096,14336; do
    step "verify-quick-$shape" "$mixtune" verify --device "$device" --all --space quick-sm80 --shape "$shape" --scheme w4a8,w8a8
done
step verify-f16 "$mixtune" verify --device "$device" --family f16 --all --shape 33,264,136 --dtype fp16,bf16
step sweep "$mixtune" sweep --device "$device" --quick --model llama-3.1-8b --layers qkv,down --m 1,16,256 --scheme w4a8,w8a8 \
    --db "$OUT/check.db"
step show "$mixtune" show --db "$OUT/check.db"
step report "$mixtune" report --db "$OUT/check.db" --out "$OUT/report"
step export "$mixtune" export --db "$OUT/check.db" --out "$OUT/check.mixtune"
step dispatch env MIXTUNE_DEVICE="$device" "$BUILD/example/dispatch" "$OUT/check.mixtune"

echo "results are in $OUT"
exit "$failed"
