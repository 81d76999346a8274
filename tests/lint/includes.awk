# The include graph against the order of the rooms (tests/lint/rooms, read first). Writes one line for each include that goes the
# wrong way, and for each file that is in no room. Tests may include anything of ours.

FNR == 1 { files++ }
files == 1 && !/^#/ && NF {
    line = " "
    for (i = 2; i <= NF; i++) {
        if ($i in lines) {
            line = line lines[$i]
            continue
        }
        line = line $i " "
        is_room[$i] = 1
        # A room that stands in two lines may include what either allows; the installed header only what stands in its own.
        may[$i] = may[$i] line
    }
    lines[$1] = substr(line, 2)
    next
}

/^[ \t]*#[ \t]*include[ \t]+"/ {
    if (FILENAME ~ /^tests\//) next
    split($0, quoted, "\"")
    from = room(FILENAME)
    path = resolve(FILENAME, quoted[2])
    if (from == "") complain("stands in no room of tests/lint/rooms", "")
    else if (path != "" && index(may[from], " " room(path) " ") == 0)
        complain("goes the wrong way", ": " from " may include" may[from])
    else if (path == "" && (from !~ /^templates/ || quoted[2] ~ /\//) && quoted[2] != "templates.list")
        complain("is not found", "")
}

# The longest room that the path begins with.
function room(path) {
    while (!(path in is_room) && sub(/\/[^\/]*$/, "", path)) {}
    return path in is_room ? path : ""
}

# The file that a quoted include means: beside the including file, from the root or, for who has the library installed, in runtime/.
function resolve(from, name,    folder, path) {
    folder = from
    sub(/[^\/]*$/, "", folder)
    path = folder name
    while (sub(/[^\/]+\/\.\.\//, "", path)) {}
    if (!exists(path)) path = exists(name) ? name : from ~ /^runtime\/example\// && exists("runtime/" name) ? "runtime/" name : ""
    return path
}
function exists(path,    line) {
    if (!(path in known)) {
        known[path] = (getline line < path) >= 0
        close(path)
    }
    return known[path]
}

function complain(what, why) {
    printf "%s:%d: #include \"%s\" %s%s\n", FILENAME, FNR, quoted[2], what, why
    wrong = 1
}

END { exit wrong }
