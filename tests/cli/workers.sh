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

# What is limited in seconds is limited in processor time of the command and its worker when the command runs with LD_PRELOAD=$clock: a kernel
# that hangs uses it up, and on a busy machine no other does.
clock=$TMPDIR/clock.so
cc -std=c11 -D_GNU_SOURCE -shared -fPIC -Wall -Wextra -Werror -o "$clock" tests/cli/fake_clock.c || exit 1
# Under a sanitizer: it comes after the clock, and a worker that is signalled dies of the signal.
export ASAN_OPTIONS=verify_asan_link_order=0:handle_segv=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}

# A signal has to come while a kernel hangs: the worker then has used processor time for a while. Nothing of a process that is gone is waited for.
gone() { [ ! -d "/proc/$1" ]; } # process
has_child() { # process; sets $children
    children=$(cat "/proc/$1/task/$1/children" 2>/dev/null)
    [ -n "$children" ] || gone "$1"
}
child_of() { # process: its first child, once there is one
    await has_child "$1"
    echo "${children%% *}"
}
ticks_of() { awk '{ print $14 }' "/proc/$1/stat" 2>/dev/null || echo 0; } # process: its processor time
has_said() { grep -qE -- "$2" "$TMPDIR/out" || gone "$1"; } # process, pattern
has_worked() { [ "$(ticks_of "$1")" -gt "$2" ] || gone "$1"; } # process, ticks
wait_until_busy() { # worker; a pattern that has to be in $TMPDIR/out first
    local before=0
    if [ -n "${2:-}" ]; then
        await has_said "$1" "$2"
        before=$(ticks_of "$1")
    fi
    await has_worked "$1" $((before + 60))
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

# ended CODE: the command of begin_busy ends with it, and its worker with it.
ended() {
    local code
    await gone "$command" || kill -KILL "$command"
    wait "$started"
    code=$?
    [ $code = "$1" ] || verdict+=" exit code $code, not $1; "
    await gone "$worker"
}

# signalled SIGNAL COMMAND...: signals it once its worker is busy. It then ends, with 75 (after KILL: as killed) and its worker with it, and not
# because it takes the kernel for one that hangs. Give it a --timeout of hours where it has one.
signalled() {
    local signal=$1 want=75
    [ "$signal" != KILL ] || want=137
    begin_busy "${@:2}"
    kill "-$signal" "$command"
    ended $want
    forbid 'no sign of life|no answer within' out
    forbid 'no sign of life|no answer within' err
}

# Another signal for the worker that comes after the one of begin_busy.
next_worker() { # signal
    await gone "$worker"
    worker=$(child_of "$command")
    wait_until_busy "$worker"
    kill "-$1" "$worker"
}

# crashed CODE COMMAND...: as run(), of a command whose worker dies once it is busy.
crashed() {
    begin_busy "${@:2}"
    kill -SEGV "$worker"
    ended "$1"
}
