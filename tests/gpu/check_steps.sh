# shellcheck shell=bash disable=SC2034,SC2153,SC2154 # others set and read these
# Steps with a limit each, a table of them, and what is copied to OUT. check.sh sources this.
#
# Neither steps nor what they call use $(...): while bash 5.2 is busy with one it cannot run a trap, and a signal would be lost.

tick() { now=$((${EPOCHREALTIME/[.,]/} / 1000)); } # milliseconds
tick
began=$now
look() { tick && left=$((BUDGET - (now - began) / 1000)); } # seconds
failed=0 stopped=0 child=0 also=0 signal=TERM
reserve=0            # seconds of the budget that are not this step's to spend
refresh=${REFRESH:-20}   # seconds between two copies to OUT while a step runs
patience=${PATIENCE:-8} # seconds without a sign of life after which a kernel hangs
work=$(mktemp -d) || exit 1
# A step does not outlive a check that was killed.
guard=()
! command -v setpriv >/dev/null || guard=(setpriv --pdeathsig TERM)

# shellcheck disable=SC2317 # a trap calls it
stop() {
    stopped=1
    [ "$child" = 0 ] || kill -INT "$child" 2>/dev/null
}
trap stop INT TERM HUP
trap 'rm -rf "$work"' EXIT

# ---- the state ----

# A folder for each type of GPU: an H100 and an H200 never meet in one table.
open_state() {
    local slug=${gpu,,}
    state=$STATE/${slug//[^a-z0-9]/-}
    log=$state/gpu-check.log db=$state/check.db
    mkdir -p "$state" "$OUT" && touch "$log" || exit 1
    rm -f "$OUT/.part"
}

# The lines of the table, and what is known of the families, are those of the newest triage and what followed it.
begin_part() { # triage, rest, all
    [ "$1" = rest ] || rm -f "$state"/{steps,dropped,suspects,swept,probed,libraries,failed-cases,published,winners.csv}
    printf '\n==== %s, %s, %s s ====\n' "$1" "$gpu" "$BUDGET" >>"$log"
    cat "$work/info" >>"$log"
    if [ "$1" = rest ] && [ ! -e "$state/steps" ]; then
        settle skipped "triage" 0 "its state is not in $state: every family counts as good until it is proved wrong"
    fi
}

# ---- copies ----

put() { # file, its name in OUT: never half a file, never more than one file too many
    [ -s "$1" ] && cp "$1" "$OUT/.part" && mv -f "$OUT/.part" "$OUT/$2"
}

# A consistent copy, whoever writes to the database meanwhile, and its winners; most steps change neither. What is over 16 MiB may not come
# back from a lent machine.
publish_db() {
    [ -e "$db" ] || return 0
    if [ ! -e "$db-wal" ] && [ ! "$db" -nt "$state/published" ] && { [ -e "$OUT/check.db" ] || [ -e "$OUT/check.db.gz" ]; }; then
        return 0
    fi
    touch "$state/published" # before it is read: what is written meanwhile is newer
    if ! "$mixtune" merge --quiet --into "$state/copy.db" "$db" >"$work/merged" 2>&1; then
        cat "$work/merged" >>"$log"
        rm -f "$state/published"
        return 1
    fi
    "$mixtune" show --db "$state/copy.db" --gpu "$gpu" --format csv --quiet >"$state/winners.csv" 2>/dev/null
    if find "$state/copy.db" -size +15M | grep -q .; then
        gzip -1 -c "$state/copy.db" >"$work/copy.db.gz" && rm -f "$OUT/check.db" && put "$work/copy.db.gz" check.db.gz
    else
        put "$state/copy.db" check.db
    fi
}

publish() {
    publish_db
    summary >"$work/summary" && cp "$work/summary" "$state/summary.txt"
    put "$state/summary.txt" summary.txt
    put "$log" gpu-check.log
}

# ---- steps ----

settle() { # ok, failed or skipped; name, seconds, remark
    local line
    printf -v line '%-7s %6.1f s  %s%s' "$1" "$3" "$2" "${4:+: $4}"
    echo "$line"
    echo "$line" >>"$state/steps"
    echo "$line" >>"$log"
    [ "$1" != failed ] || failed=1
}

skip() { [ "$stopped" = 1 ] || settle skipped "$1" 0 "$2"; } # name, why

# Waits for the child, and copies meanwhile what there is. Sets `code`.
await() {
    local ended ticker
    while :; do
        sleep "$refresh" &
        ticker=$!
        ended=
        { wait -n -p ended "$child" "$ticker"; code=$?; } 2>/dev/null # the shell has a word on who was killed
        { kill "$ticker" && wait "$ticker"; } 2>/dev/null
        [ "${ended:-}" != "$child" ] || break # else it was the time, or a trap
        kill -0 "$child" 2>/dev/null || { wait "$child" 2>/dev/null; code=$?; break; }
        [ "${ended:-}" != "$ticker" ] || publish
    done
    child=0
}

# What the kernel has to say of the driver, where it lets us read it.
driver_messages() {
    [[ $device == cuda* ]] && dmesg 2>/dev/null | grep -iE 'nvrm|xid|oom|killed process' | tail -n 20
}

# step NAME LIMIT COMMAND...: its output is in $said, and then in the log. Exit code $also is good, too. A step over its limit has failed; a
# software device has $pace times as long.
said=$work/said
step() {
    local name=$1 limit=$2 code=0 ms remark=
    shift 2
    [ "$stopped" = 0 ] || return 1
    look
    limit=$((limit * pace))
    [ "$limit" -lt $((left - reserve)) ] || limit=$((left - reserve))
    : >"$said"
    [ "$limit" -gt 0 ] || { settle failed "$name" 0 "no time is left for it in $BUDGET s"; return 1; }
    printf '\n== %s (at most %d s)\n$ %s\n' "$name" "$limit" "$*" >>"$log"
    ms=$now
    "${guard[@]}" timeout --signal="$signal" --kill-after=10 "$limit" "$@" >"$said" 2>&1 </dev/null &
    child=$!
    await
    tick
    ms=$((now - ms))
    cat "$said" >>"$log"
    if [ "$code" = 0 ] || [ "$code" = "$also" ]; then
        settle ok "$name" "$ms"e-3
        publish
        return 0
    fi
    [ "$stopped" = 0 ] || code=stopped
    case $code in
    stopped) remark="stopped by a signal; no step after it was run" ;;
    124 | 137) remark="over its limit of $limit s" ;;
    13[0-9] | 14[0-9]) remark="killed by signal $((code - 128))" ;;
    *)
        read -r remark < <(grep -m 1 '^not ok' "$said" || grep -v '^ *$' "$said" | tail -n 1)
        remark="exit code $code: ${remark:0:300}"
        ;;
    esac
    settle failed "$name" "$ms"e-3 "$remark"
    driver_messages >>"$log"
    publish
    return 1
}
