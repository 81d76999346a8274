# shellcheck shell=bash
# Kernels that misbehave, and the worker processes that they misbehave in: for tests that source cases.sh, too.

# The depth of the pipeline says how the sm80 kernel misbehaves: 3 and the default of 4 are good.
bad_kernels() { # folder: gets templates
    mkdir "$1"
    cp templates/gemm_sm80.cu "$1"
    sed -i '/^    gemm_sm80(const __grid_constant__/r /dev/stdin' "$1/gemm_sm80.cu" <<'CU'
#if STAGES == 5
    for (;;) // hangs
        asm volatile("");
#elif STAGES == 6
    asm volatile("trap;");
#elif STAGES == 7
    static_cast<volatile unsigned short *>(args.y)[1 << 28] = 1; // far outside
#elif STAGES == 8
    if (blockIdx.x == 0) // leaves a tile as it was
        return;
#endif
CU
}

# With this a software device takes a loop without end for work, and only the command's own watch can end it.
no_watchdog() { export SOFTGPU_WATCHDOG=1000000000000; }

# A signal has to come while a kernel hangs: the worker then has used processor time for a while.
child_of() { # process: its first child, once there is one
    local child
    for _ in $(seq 400); do
        child=$(cat "/proc/$1/task/$1/children" 2>/dev/null)
        [ -n "$child" ] && break
        sleep 0.05
    done
    echo "${child%% *}"
}
ticks_of() { awk '{ print $14 }' "/proc/$1/stat" 2>/dev/null || echo 0; } # process: its processor time
wait_until_busy() { # worker; a pattern that has to be in $TMPDIR/out first
    local ticks=0 before=0
    if [ -n "${2:-}" ]; then
        for _ in $(seq 400); do
            grep -qE -- "$2" "$TMPDIR/out" && break
            sleep 0.05
        done
        before=$(ticks_of "$1")
    fi
    for _ in $(seq 400); do
        ticks=$(ticks_of "$1")
        [ $((ticks - before)) -gt 60 ] && break
        sleep 0.05
    done
}
gone() { # process
    for _ in $(seq 100); do
        [ -d "/proc/$1" ] || return 0
        sleep 0.05
    done
    return 1
}

# begin_busy COMMAND...: starts it, or a function whose one process it is, and waits until its worker is busy, with $reached set only after
# that pattern is in its output. Sets $started (to wait for), $command and $worker. Leaves $TMPDIR/out and $TMPDIR/err.
begin_busy() {
    "$@" >"$TMPDIR/out" 2>"$TMPDIR/err" &
    started=$!
    command=$started
    ! declare -F "$1" >/dev/null || command=$(child_of "$started")
    worker=$(child_of "$command")
    wait_until_busy "$worker" "${reached:-}"
}

# signalled SIGNAL COMMAND...: signals it once its worker is busy; $verdict is good when it then ends soon, with 75 (after KILL: as killed),
# and its worker with it.
signalled() {
    local signal=$1 code want=75 begin
    [ "$signal" != KILL ] || want=137
    shift
    begin_busy "$@"
    begin=$SECONDS
    kill "-$signal" "$command"
    wait "$started"
    code=$?
    verdict=
    [ $((SECONDS - begin)) -le 15 ] || verdict="it took $((SECONDS - begin)) s; "
    [ $code = $want ] || verdict="$verdict exit code $code, not $want; "
    gone "$worker" || verdict="$verdict the worker outlived it; "
}

# crashed CODE COMMAND...: as run(), of a command whose worker dies once it is busy.
crashed() {
    local want=$1 code
    shift
    begin_busy "$@"
    kill -SEGV "$worker"
    wait "$started"
    code=$?
    verdict=
    [ $code = "$want" ] || verdict="exit code $code, not $want; "
}
