#!/bin/bash
# tests/fuzz/seeds.sh PROGRAM PROGRAM FOLDER: the seeds of the fuzzers into FOLDER/KIND, and a list of words beside each, FOLDER/KIND.dict. The
# programs are soft_seeds and bundle_seeds. What is in tests/fuzz/corpus/KIND comes on top of them (test_fuzz.sh).
set -eu
program=$1 bundles=$2 out=$3
rm -rf "$out"
mkdir -p "$out"/whole/{ptx,image,tensors} "$out"/{ptx,image,model,space,device,t4,bundle}
MIXTUNE_CACHE_DIR=${MIXTUNE_CACHE_DIR:-$BUILD/test-cache} "$program" "$out/whole"
MIXTUNE_CACHE_DIR=${MIXTUNE_CACHE_DIR:-$BUILD/test-cache} "$bundles" "$out"
awk -v folder="$out/ptx" -f tests/fuzz/seeds.awk "$out"/whole/ptx/*
cp tests/fuzz/seed.ptx "$out/ptx/directives"
mv "$out/whole/tensors" "$out"
find "$out/whole/image" -type f -size -64k -exec cp {} "$out/image" \;
# Words of the texts: mnemonics, modifiers, directives, special registers.
grep -ohE '[%.]?[a-z][A-Za-z0-9_:]*' "$out"/ptx/* | grep -vE '^%?[a-z]+[0-9]+$' | sort -u | sed 's/.*/"&"/' >"$out/ptx.dict"
printf '"%s"\n' '\x50\xed\x55\xba\x01\x00\x10\x00' '\x7fELF' '.nv.info' '.version 8.0\x0a' '.target sm_80\x0a' >"$out/image.dict"

# What people write, and its words. Comments teach nothing.
cp configs/models/*.json "$out/model"
for file in configs/spaces/*.yaml configs/splits/*.csv configs/devices/*.yaml; do
    case $file in
    *spaces*) first=a kind=space ;;
    *splits*) first=b kind=space ;; # fuzz_space.c: an even byte
    *) first='' kind=device ;;
    esac
    { printf '%s' "$first" && sed 's/ *#.*//' "$file"; } | head -c 4000 >"$out/$kind/${file##*/}"
done
numbers=(18446744073709551615 9223372036854775807 2147483648 2147483647 4294967296 -1 0 1e9 1e400 64.5 007 0x10)
# `words KIND PATTERN MORE...`: what PATTERN finds in the seeds of a kind.
words() {
    local kind=$1
    cat "$out/$kind"/* tests/fuzz/corpus/"$kind"/* 2>/dev/null | grep -aohE "$2" | sort -u | sed 's/"/\\"/g; s/.*/"&"/' >"$out/$kind.dict" || true
    printf '"%s"\n' "${numbers[@]}" "${@:3}" >>"$out/$kind.dict"
}
json='"[A-Za-z0-9_.]+"|[][{}:,]'
words tensors "$json" null true '\\u0000'
words model "$json" null true '\\u0000'
words t4 "$json" null true '\\u0000' '1.5' '2026-11-23T13:05:00.123456789Z' '9999-12-31T23:59:59.999999999Z'
words space '[a-z_0-9]+|[][{}:,-]' '\x0a  ' '---\x0a' '&a ' '*a' '!!int ' '<<: ' '? '
words device '[a-z_0-9]+|[][{}:,-]' '\x0a' '---\x0a' '&a ' '*a' '!!int ' '<<: ' '? '
# Words of the rows, and of the file.
grep -aohE '[a-z_0-9]{3,}=?|=[0-9]+' "$out"/bundle/*.pages | sort -u | sed 's/.*/"&"/' >"$out/bundle.dict"
printf '"%s"\n' 'SQLite format 3' 'mixtune bundle seal: ' '\x28\xb5\x2f\xfd' '\x50\xed\x55\xba' '\x7fELF' quantize f16 sm90 w8a8 mixed-sym w4a8-sym bf16 cublaslt-best >>"$out/bundle.dict"
