#!/bin/bash
# Each function of the public interface is called by a test, and the shared library exports these functions and nothing else.
set -u
. tests/cli/cases.sh
: >"$TMPDIR/err"

header=runtime/mixtune.h
declared=$(sed -n 's/^MT_API .*[ *]\(mt_[a-z0-9_]*\)(.*/\1/p' "$header" | sort)
[ "$(wc -w <<<"$declared")" = "$(grep -c '^MT_API ' "$header")" ] || verdict='a line that begins with MT_API was not understood'
result 'the functions of mixtune.h are known'

for name in $declared; do
    grep -rq --include='test_*.c' "\<$name(" tests/unit tests/device || verdict+=" no test calls $name; "
done
result 'each function of mixtune.h is called by a test'

exported=$(nm -D --defined-only "$BUILD/libmixtune.so" | awk '$2 == "T" || $2 == "D" || $2 == "B" || $2 == "R" { print $3 }' | sort)
diff <(echo "$declared") <(echo "$exported") >"$TMPDIR/err" || verdict='the library exports other functions than mixtune.h has'
result 'libmixtune.so exports what mixtune.h has'

finish
