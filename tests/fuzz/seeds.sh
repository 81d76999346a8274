#!/bin/bash
# tests/fuzz/seeds.sh PROGRAM FOLDER: the seeds of the fuzzers into FOLDER/ptx, FOLDER/image and FOLDER/tensors, and a list of words beside each. PROGRAM is soft_seeds.
set -eu
program=$1 out=$2
rm -rf "$out"
mkdir -p "$out"/whole/{ptx,image,tensors} "$out/ptx" "$out/image"
MIXTUNE_CACHE_DIR=${MIXTUNE_CACHE_DIR:-$BUILD/test-cache} "$program" "$out/whole"
awk -v folder="$out/ptx" -f tests/fuzz/seeds.awk "$out"/whole/ptx/*
cp tests/fuzz/seed.ptx "$out/ptx/directives"
mv "$out/whole/tensors" "$out"
find "$out/whole/image" -type f -size -64k -exec cp {} "$out/image" \;
# Words of the texts: mnemonics, modifiers, directives, special registers.
grep -ohE '[%.]?[a-z][A-Za-z0-9_:]*' "$out"/ptx/* | grep -vE '^%?[a-z]+[0-9]+$' | sort -u | sed 's/.*/"&"/' >"$out/ptx.dict"
printf '"%s"\n' '\x50\xed\x55\xba\x01\x00\x10\x00' '\x7fELF' '.nv.info' '.version 8.0\x0a' '.target sm_80\x0a' >"$out/image.dict"
# Keys and values of the JSON.
grep -ahoE '"[A-Za-z0-9_.]+"|[][{}:,]' "$out"/tensors/* | sort -u | sed 's/"/\\"/g; s/.*/"&"/' >"$out/tensors.dict"
printf '"%s"\n' 18446744073709551615 9223372036854775807 -1 0 1e9 null true '\\u0000' >>"$out/tensors.dict"
