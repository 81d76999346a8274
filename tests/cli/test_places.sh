#!/bin/bash
# Where there are no locks, no shared memory and nothing can be written: the work is done all the same, and locks hold.
# shellcheck disable=SC2054,SC2317 # commas inside values, functions called by name
set -u
. tests/cli/cases.sh
work=$(realpath "$TMPDIR")
there=$work/there db=$work/there/db lacking=$work/no_locks.so
mkdir -p "$there"
cc -std=c11 -D_GNU_SOURCE -shared -fPIC -Wall -Wextra -Werror -o "$lacking" tests/cli/no_locks.c || exit 1
printf 'family: sm80\nvalues:\n  tile_n: [64]\n' >"$work/space.yaml"
soft=soft:a100-sxm-80g

lacks() { # NAME=VALUE... -- command: run in a shell that lacks them in $there
    local names=()
    while [ "$1" != -- ]; do
        names+=("$1")
        shift
    done
    env NO_LOCKS_IN="$there" LD_PRELOAD="$lacking" "${names[@]}" "${@:2}"
}
sweep() { "$MIXTUNE" sweep --quiet --device "$soft" --space "$work/space.yaml" --max-configs 1 --shape 64,128 "$@"; }
export -f sweep
export MIXTUNE work soft
inner() { bash -c 'sweep "$@"' sweep "$@"; }
rows() { # how many there are to be in the database
    [ "$(sqlite3 "$db" 'SELECT count(DISTINCT m) FROM measurement')" = "$1" ] || verdict+=" not $1 values of m; "
}
mode() { # journal mode
    [ "$(sqlite3 "$db" 'PRAGMA journal_mode')" = "$1" ] || verdict+=" journal mode is not $1; "
}

# ---- SQLite ----

run 0 inner --db "$db" --m 1
mode wal
run 0 lacks NO_SHARED=1 -- "$MIXTUNE" show --db "$db"
mode wal
run 0 lacks NO_SHARED=1 -- bash -c 'sweep "$@"' sweep --db "$db" --m 2
mode delete
run 0 lacks NO_SHARED=1 -- bash -c 'sweep "$@"' sweep --db "$db" --m 3
mode delete
rows 3
result 'without shared memory a database has a rollback journal'

run 0 inner --db "$db" --m 3
mode wal
run 0 lacks NO_LOCKS_TYPE=0x6969 -- bash -c 'sweep "$@"' sweep --db "$db" --m 4
mode delete
rows 4
run 0 inner --db "$db" --m 4
mode wal
result 'so it has where other hosts may come, and WAL again elsewhere'

for error in 37 38; do
    run 0 lacks NO_POSIX=$error NO_FLOCK=$error -- bash -c 'sweep "$@"' sweep --db "$db" --m ${error:1}
    expect 'its file system has no locks' err
    run 0 lacks NO_POSIX=$error NO_FLOCK=$error -- "$MIXTUNE" show --quiet --db "$db" --json
    [ "$(wc -l <"$work/out")" -ge 5 ] || verdict+=" too few winners; "
    [ ! -s "$work/err" ] || verdict+=" words for who only reads; "
done
mode delete
rows 6
[ ! -e "$db.lock" ] || verdict+=" its lock is still there; "
result 'without POSIX locks one process after the other writes'

# ---- our own locks ----

# Another process of this host has it; one that is dead loses it. As runtime/base/lockfile.c writes it.
identity() { # process
    echo "$(uname -n) $(cat /etc/machine-id 2>/dev/null || echo -) $(cat /proc/sys/kernel/random/boot_id) $(readlink /proc/self/ns/pid)" \
        "$1 $(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20)"
}
mkdir -p "$there/cache"
export MIXTUNE_CACHE_DIR=$there/cache
run 0 lacks NO_FLOCK=38 -- bash -c 'sweep "$@"' sweep --db "$db" --m 1
lock=$(find "$there/cache/locks" -type f)
[ "$(wc -l <<<"$lock")" = 1 ] || verdict+=" what was locked by name stays locked; "
sleep 1000 &
other=$!
identity $other >"$lock.lock"
sentence 1 "process $other on $(uname -n) sweeps on|without --no-wait" lacks NO_FLOCK=38 -- bash -c 'sweep "$@"' sweep --db "$db" --m 1 --no-wait
run 0 lacks NO_FLOCK=38 -- bash -c 'sweep "$@"' sweep --db "$db" --m 1 --no-lock
sed -i 's/ [0-9]*$/ 1/' "$lock.lock" # the number is another process's by now
run 0 lacks NO_FLOCK=38 -- bash -c 'sweep "$@"' sweep --db "$db" --m 1 --no-wait
[ ! -e "$lock.lock" ] || verdict+=" the lock of nobody stays; "
identity $other >"$lock.lock"
kill $other
wait $other 2>/dev/null
run 0 lacks NO_FLOCK=37 -- bash -c 'sweep "$@"' sweep --db "$db" --m 1 --no-wait
[ -z "$(find "$there" -name '*.lock*')" ] || verdict+=" a lock file stays; "
echo "elsewhere m b pid:[1] 1 1" >"$lock.lock"
sentence 1 "process 1 on elsewhere|remove $lock.lock" lacks NO_FLOCK=38 -- bash -c 'sweep "$@"' sweep --db "$db" --m 1 --no-wait
rm "$lock.lock"
result 'without flock() a file says who sweeps, and the dead do not'

# ---- nothing to write to ----

# The kernels come from a folder that is only read.
sqlite3 "$db" 'SELECT nvrtc_version FROM environment LIMIT 1' >"$MIXTUNE_CACHE_DIR/nvrtc"
mkdir "$work/run"
nowhere=(env -u MIXTUNE_CACHE_DIR -u XDG_CACHE_HOME XDG_RUNTIME_DIR="$work/run" HOME=/dev/null/home MIXTUNE_IMAGES="$MIXTUNE_CACHE_DIR")
run 0 "${nowhere[@]}" bash -c 'sweep "$@"' sweep --db "$db" --m 7
run 0 "${nowhere[@]}" env -u HOME bash -c 'sweep "$@"' sweep --db "$db" --m 8
[ "$(find "$work/run/mixtune" -type f | wc -l)" = 1 ] || verdict+=" the lock is not there; "
run 0 "${nowhere[@]}" "$MIXTUNE" export --quiet --m 1 --db "$db" --out "$work/w.mixtune"
result 'a cache that cannot be, and HOME that is not, stop no command'

# A read-only mount, where the rights suffice to make one: frozen FOLDER COMMAND...
# shellcheck disable=SC2016
frozen=(unshare -rm bash -c 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && "$@"')
reads() { # every command that only reads, of $db on the read-only mount
    local command
    for command in 'show --json' "report --out $work/report" "export --m 1 --out $work/r.mixtune"; do
        # shellcheck disable=SC2086 # a command and its options
        run 0 "${frozen[@]}" "$there" env MIXTUNE_IMAGES="$MIXTUNE_CACHE_DIR" "$MIXTUNE" $command --quiet --db "$db"
    done
    run 0 "${frozen[@]}" "$there" "$MIXTUNE" merge --into "$work/into.$1" "$db"
    sqlite3 "$work/into.$1" "SELECT DISTINCT m FROM measurement ORDER BY m" >"$work/out"
    cmp -s "$work/out" "$work/all" || verdict+=" not all rows are merged; "
}
if "${frozen[@]}" "$there" true 2>/dev/null; then
    sqlite3 "$db" "SELECT DISTINCT m FROM measurement ORDER BY m" >"$work/all"
    sqlite3 "$db" 'PRAGMA journal_mode = wal' >"$work/out"
    reads rest
    run 0 "${frozen[@]}" "$there" "$MIXTUNE" show --quiet --db "$db"
    sentence 1 "$db|cannot be written|--db" "${frozen[@]}" "$there" bash -c 'sweep "$@"' sweep --db "$db" --m 3
    result 'a database on a read-only mount can be read, and is not written to'
    # As a killed sweep leaves it: what it recorded last is in the -wal.
    sqlite3 "$db" 'PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; CREATE TEMP TABLE x AS SELECT * FROM measurement WHERE m = 7 LIMIT 1;
        UPDATE x SET id = 9, m = 999; INSERT INTO measurement SELECT * FROM x' ".shell cp $db $work/killed; cp $db-wal $work/killed-wal" >"$work/out"
    mv "$work/killed" "$db" && mv "$work/killed-wal" "$db-wal" && rm -f "$db-shm"
    run 0 "${frozen[@]}" "$there" "$MIXTUNE" show --all --json --quiet --db "$db"
    expect '"m":999' out
    result 'so it can with what a killed writer left there'
else
    skip 'a database on a read-only mount' 'no right to mount one'
fi

finish
