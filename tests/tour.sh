#!/bin/bash
# What `make run` shows: from the layers of Llama 3.1 8B to a GEMM that a C program dispatches. BUILD is the build folder, M the
# batch sizes. Stopped half-way, it goes on from there; MIXTUNE_DEVICE chooses the device.
set -eu
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build}
M=${M:-1:1024:x2}
out=$BUILD/run
export MIXTUNE_CACHE_DIR=${MIXTUNE_CACHE_DIR:-$BUILD/cache}
mkdir -p "$out"

step() { # a command, shown and run
    printf '\n$ %s\n' "$*" >&2
    "$@"
}

begin=$SECONDS
step "$BUILD/mixtune" sweep --quick --model llama-3.1-8b --m "$M" --scheme w4a8,w8a8 --db "$out/llama-3.1-8b.db" >"$out/sweep.txt"
step "$BUILD/mixtune" probe --quiet --db "$out/llama-3.1-8b.db" >"$out/limits.txt" # for each winner's share of the floor
step "$BUILD/mixtune" show --db "$out/llama-3.1-8b.db"
step "$BUILD/mixtune" report --db "$out/llama-3.1-8b.db" --out "$out/report"
step "$BUILD/mixtune" export --db "$out/llama-3.1-8b.db" --out "$out/llama-3.1-8b.mixtune"
step "$BUILD/example/dispatch" "$out/llama-3.1-8b.mixtune"

cat <<END

Done in $((SECONDS - begin)) s. There is now
  the table   $BUILD/mixtune show --db $out/llama-3.1-8b.db; the headline is ratio_with_quantize, ratio leaves quantising out
  the plots   $out/report/index.html
  the bundle  $out/llama-3.1-8b.mixtune, which a serving engine dispatches from
END
