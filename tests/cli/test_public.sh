#!/bin/bash
# Each function of the public interface is called by a test, and the shared library exports these functions and nothing
# else; the header is what C and C++ programs can use.
set -u
. tests/cli/cases.sh
: >"$TMPDIR/err"

header=runtime/mixtune.h
declared=$(sed -n 's/^MT_API .*[ *]\(mt_[a-z0-9_]*\)(.*/\1/p' "$header" | sort)
[ "$(wc -w <<<"$declared")" = "$(grep -c '^MT_API ' "$header")" ] || verdict='a line that begins with MT_API was not understood'
result 'the functions of mixtune.h are known'

for name in $declared; do
    grep -rq --include='*.[ch]' "\<$name(" tests/unit tests/device || verdict+=" no test calls $name; "
done
result 'each function of mixtune.h is called by a test'

# Why an earlier call failed says nothing of one that did not; a lookup alone leaves it.
while read -r name; do
    [ "$name" = mt_table_lookup ] || grep -rqF --include='*.[ch]' "settled($name(" tests/unit/serve tests/device ||
        verdict+=" no test looks at the sentence after a good $name; "
done < <(sed -n 's/^MT_API enum mt_status \(mt_[a-z0-9_]*\)(.*/\1/p' "$header")
result 'each function that returns a status is shown to leave no sentence when it is good'

exported=$(nm -D --defined-only "$BUILD/libmixtune.so" | awk '$2 == "T" || $2 == "D" || $2 == "B" || $2 == "R" { print $3 }' | sort)
diff <(echo "$declared") <(echo "$exported") >"$TMPDIR/err" || verdict='the library exports other functions than mixtune.h has'
result 'libmixtune.so exports what mixtune.h has'

# It lives in somebody's process: nothing in it ends that (the loader's own calls for a smashed stack apart), and memory may be short.
nm -D --undefined-only "$BUILD/libmixtune.so" | grep -E ' (_?exit|_Exit|quick_exit|abort|raise|__assert_fail)(@|$)' >"$TMPDIR/err" &&
    verdict="it calls $(head -1 "$TMPDIR/err"); "
grep -rnE '\<x(malloc|calloc|realloc|strdup|aligned_alloc)\(' --include=*.[ch] runtime db |
    grep -vE '^runtime/(softgpu|yaml|example)/|^runtime/base/memory.h:' >"$TMPDIR/err" && verdict+="$(head -1 "$TMPDIR/err") ends it without memory; "
result 'nothing in the library ends its host'

# Structs begin with their sizes, so that each can grow, and hold no other structs, which then could not.
awk '/^struct mt_[a-z_]* \{/ { name = $2; getline; if ($0 !~ /^    size_t size;/) print name " does not begin with size_t size"; inside = 1; count++ }
     inside && /^ +(const )?struct [a-z_]+ [^*]/ { print name " holds a struct: " $0 }
     /^\};/ { inside = 0 }
     END { if (count < 9) print "only " count " structs" }' "$header" >"$TMPDIR/err"
[ -s "$TMPDIR/err" ] && verdict="$(head -1 "$TMPDIR/err"); "
result 'each public struct begins with its size and holds no other'

# What makes a fault of memory end the process and not more: addresses that are not known, tables that cannot be written, a stack that cannot
# be run and is watched, and the functions of libc that know the sizes of their buffers.
for file in libmixtune.so libsoftgpu.so mixtune example/dispatch example/serve; do
    readelf -hldW "$BUILD/$file" >"$TMPDIR/err"
    expect '^ *Type: +DYN ' err
    expect '\(FLAGS\) .*BIND_NOW' err
    expect '^ *GNU_RELRO ' err
    expect '^ *GNU_STACK .* RW  ' err
    nm -D --undefined-only "$BUILD/$file" >"$TMPDIR/err"
    expect ' __stack_chk_fail' err
    expect ' __[a-z]+_chk' err
    [ -z "$verdict" ] || verdict="$file: $verdict"
    result "$file is hardened"
done
: >"$TMPDIR/err"

# As users compile it: strictly, as C and as C++, with nothing of ours beside the installed headers.
cat >"$TMPDIR/user.c" <<'C'
#include <mixtune.h>
int main(void) {
    struct mt_query query = MT_QUERY_INIT;
    struct mt_weights weights = {.size = sizeof weights};
    struct mt_choice choice = {.size = sizeof choice};
    query.name = "qkv";
    return mt_api_version() != MT_API_VERSION || query.rows8 != MT_ANY || query.dtype != MT_ANY || query.symmetric != MT_ANY ||
           query.size != sizeof query || weights.memory || choice.config || MT_STEP_DEFAULT <= MT_STEP_NEAREST_ROWS8;
}
C
sed "s/{.size = /{/" "$TMPDIR/user.c" >"$TMPDIR/user.cc" # C++17 has no designated initialisers
include=(-I runtime -isystem "${CUDA_HOME:-/usr/local/cuda}/include")
strict=(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror)
run 0 gcc -std=c11 "${strict[@]}" "${include[@]}" "$TMPDIR/user.c" -o "$TMPDIR/user" -L "$BUILD" -lmixtune
run 0 env LD_LIBRARY_PATH="$BUILD" "$TMPDIR/user"
result 'a strict C program compiles, links and runs'
if command -v g++ >/dev/null; then
    run 0 g++ -std=c++17 "${strict[@]}" -Wno-missing-field-initializers "${include[@]}" "$TMPDIR/user.cc" -o "$TMPDIR/user" -L "$BUILD" -lmixtune
    run 0 env LD_LIBRARY_PATH="$BUILD" "$TMPDIR/user"
    result 'so does a C++ program'
fi

finish
