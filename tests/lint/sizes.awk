# No function over 80 lines, no file over 900. Relies on clang-format: a function begins at the last line that starts in the
# first column and ends with a lone "}" there.
FNR == 1 { begin = 0; check_file() }
{ lines = FNR; file = FILENAME }
/^[A-Za-z_]/ && !/^[a-z_]+:$/ && !/^(struct|union|enum|typedef)[^()]*\{$/ { begin = FNR; head = $0 }
/^}$/ && begin {
    if (FNR - begin + 1 > 80) {
        printf "%s:%d: %d lines, more than 80: %s\n", FILENAME, begin, FNR - begin + 1, head
        wrong = 1
    }
    begin = 0
}
END { check_file(); exit wrong }

function check_file() {
    if (lines > 900) {
        printf "%s: %d lines, more than 900\n", file, lines
        wrong = 1
    }
    lines = 0
}
