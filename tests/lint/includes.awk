# The include graph: who may include whom (ARCHITECTURE.md). Reads sources; writes one line for each include that goes the wrong way.
#   tuner -> runtime -> db; all of them -> runtime/base and templates/gemm_args.h; templates -> templates;
#   runtime/softgpu -> itself and base, so that it stays a device in its own right; runtime/base -> itself.
# Tests may include anything of ours; the example only what is installed.

function part(path) {
    if (path == "templates/gemm_args.h") return "args"
    if (path ~ /^runtime\/(base|softgpu|example)\//) { split(path, p, "/"); return p[2] }
    split(path, p, "/")
    return p[1]
}

# The file that a quoted include means, relative to the including file first and then to -I. and -Iruntime.
function resolve(from, name,    folder, path) {
    folder = from
    sub(/[^\/]*$/, "", folder)
    path = tidy(folder name)
    if (exists(path)) return path
    if (exists(name)) return name
    if (exists("runtime/" name)) return "runtime/" name
    return ""
}
function tidy(path) {
    while (sub(/[^\/]+\/\.\.\//, "", path)) {}
    gsub(/\/\.\//, "/", path)
    return path
}
function exists(path,    line, found) {
    if (!(path in known)) {
        known[path] = (getline line < path) >= 0
        close(path)
    }
    return known[path]
}

BEGIN {
    allowed["base"] = " base "
    allowed["softgpu"] = " softgpu base "
    allowed["db"] = " db base args "
    allowed["runtime"] = " runtime db base args "
    allowed["tuner"] = " tuner runtime db base args "
    allowed["templates"] = " templates args "
    allowed["args"] = " args "
    allowed["example"] = " "
    wrong = 0
}

/^[ \t]*#[ \t]*include[ \t]+"/ {
    split($0, quoted, "\"")
    from = part(FILENAME)
    if (from == "tests") next
    path = resolve(FILENAME, quoted[2])
    if (path == "") {
        if (from != "templates" || quoted[2] ~ /\//) complain("not found")
        next
    }
    if (from == "example" && path == "runtime/mixtune.h") next
    if (index(allowed[from], " " part(path) " ") == 0) complain("goes the wrong way")
}

function complain(what) {
    printf "%s:%d: #include \"%s\" %s: %s may include%s\n", FILENAME, FNR, quoted[2], what, from, allowed[from]
    wrong = 1
}

END { exit wrong }
