#!/bin/bash
# Compiled kernels that travel: with --images they run on a machine whose NVRTC is another one, and what is not among them is no
# candidate's fault. The other NVRTC is the one here under a library that gives another version.
# shellcheck source=tests/cli/cases.sh
. tests/cli/cases.sh
real=${CUDA_HOME:-/usr/local/cuda}
images=$TMPDIR/images
other=(env CUDA_HOME="$TMPDIR/cuda" MIXTUNE_CACHE_DIR="$TMPDIR/cache")
# shellcheck disable=SC2054 # a shape holds commas
sweep=("$MIXTUNE" sweep --quiet --device soft:h100-sxm --shape 16,512,512 --quick --max-configs 3)

mkdir -p "$TMPDIR/cuda/lib64" && cp -R "$real/include" "$TMPDIR/cuda"
cat >"$TMPDIR/other.c" <<'C'
int nvrtcVersion(int *major, int *minor) {
    *major = 12;
    *minor = 9;
    return 0;
}
C
gcc -shared -fPIC -o "$TMPDIR/cuda/lib64/libnvrtc.so.13" "$TMPDIR/other.c" -L"$real/lib64" -Wl,--no-as-needed -lnvrtc -Wl,-rpath,"$real/lib64"

run 0 env MIXTUNE_CACHE_DIR="$images" "${sweep[@]}" --db "$TMPDIR/here.db"
"$MIXTUNE" info --json --quiet --device soft:h100-sxm | python3 -c 'import json,sys; print(json.load(sys.stdin)["compiler"]["nvrtc_version"])' >"$images/nvrtc"
run 0 "${other[@]}" MIXTUNE_LOG=debug "${sweep[@]}" --images "$images" --db "$TMPDIR/there.db"
forbid 'left out' err
[ ! -e "$TMPDIR/cache/kernels" ] || verdict="$verdict something was compiled; "
rows() { sqlite3 "$1" "SELECT family, config, binary, median_ns, nvrtc_version FROM current ORDER BY 1, 2"; }
diff <(rows "$TMPDIR/here.db") <(rows "$TMPDIR/there.db") >>"$TMPDIR/err" || verdict="$verdict other rows than where the images are from; "
[ "$(rows "$TMPDIR/there.db" | wc -l)" -ge 6 ] || verdict="$verdict too few rows; "
result "images run where the NVRTC is another one, and count as of the one that made them"

run 0 "${other[@]}" "${sweep[@]}" --db "$TMPDIR/without.db"
[ "$(sqlite3 "$TMPDIR/without.db" 'SELECT DISTINCT nvrtc_version FROM fact')" = 1290 ] || verdict="$verdict not compiled by the other NVRTC; "
result "without --images the other NVRTC compiles"

# One image fewer: that of a winner, so that it is missed.
gone=$(sqlite3 "$TMPDIR/here.db" "SELECT binary FROM winner WHERE family <> 'f16'")
rm "$images/kernels/$gone"
run 0 "${other[@]}" "${sweep[@]}" --images "$images" --db "$TMPDIR/fewer.db"
expect "some candidates are left out: $images has no image of this gemm_sm[89]0.cu for sm_[89]0a?, and the NVRTC here is 12.9, not the 13.0" err
expect '[1-9] candidates were left out' err
[ "$(sqlite3 "$TMPDIR/fewer.db" "SELECT count(*) FROM measurement WHERE outcome <> 'ok'")" = 0 ] || verdict="$verdict a row says it failed; "
[ "$(rows "$TMPDIR/fewer.db" | wc -l)" -lt "$(rows "$TMPDIR/here.db" | wc -l)" ] || verdict="$verdict nothing is missing; "
run 0 env MIXTUNE_CACHE_DIR="$TMPDIR/cache2" "${sweep[@]}" --images "$images" --db "$TMPDIR/fewer.db"
[ "$(rows "$TMPDIR/fewer.db")" = "$(rows "$TMPDIR/here.db")" ] || verdict="$verdict what was left out is not measured later; "
result "what is not among the images is left out, told, and no row; an NVRTC of their version makes it"

rm -r "$images/kernels"
run 69 "${other[@]}" "${sweep[@]}" --images "$images" --db "$TMPDIR/none.db"
expect '^mixtune: .* has no image of this ' err
result "no image at all is one sentence"

run 64 "${sweep[@]}" --images "$TMPDIR/cache" --db "$TMPDIR/bad.db"
expect "^mixtune: $TMPDIR/cache is no folder of images: " err
echo thirteen >"$images/nvrtc"
run 64 "${sweep[@]}" --images "$images" --db "$TMPDIR/bad.db"
expect "$images/nvrtc must hold the version" err
result "a folder without a version is refused"

# Whoever can write there decides what runs here.
echo 1300 >"$images/nvrtc"
chmod g+w "$images"
sentence 64 "$images can be written by other users|chmod go-w" "${sweep[@]}" --images "$images" --db "$TMPDIR/bad.db"
chmod g-w "$images"
result "a folder of images that others can write to is refused"

# shellcheck disable=SC2054 # a shape holds commas
cache=(env MIXTUNE_CACHE_DIR="$TMPDIR/cache3" "$MIXTUNE" verify --compile-only --device soft:h100-sxm --shape 16,512,512)
run 0 "${cache[@]}"
entries=("$TMPDIR/cache3/kernels/"*)
cp "${entries[0]}" "$TMPDIR/entry"
for other in "${entries[@]}"; do cp "$TMPDIR/entry" "$other"; done
run 0 "${cache[@]}"
expect 'is damaged, or is not of that name, and is compiled again' err
chmod o+w "$TMPDIR/cache3/kernels"
run 0 "${cache[@]}"
expect "compiled kernels there are not used: $TMPDIR/cache3/kernels can be written by other users .*chmod go-w" err
[ "$(grep -c 'compiled kernels there are not used' "$TMPDIR/err")" = 1 ] || verdict="$verdict warned more than once; "
result "an entry under another's name, and a cache that others can write to, are not used"
finish
