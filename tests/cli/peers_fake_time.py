"""Time for tests/cli/test_peers.sh, as sitecustomize.py of every process: it stands still, so that no machine is too busy for a limit. It goes on
where pass_time() says so, and while somebody waits for a process that has said hangs(). The file $FAKE_TIME has a byte for a tenth of a second."""
import os
import select
import signal
import time

FILE = os.environ["FAKE_TIME"]
TICK = 0.1
real_select, real_sleep = select.select, time.sleep
alarm = None


def now():
    return 1000 + TICK * os.stat(FILE).st_size


def pass_time(seconds):
    with open(FILE, "a") as file:
        file.write("." * round(seconds / TICK))


def hangs():
    """Of this process: for ever, but for a timer that it has set itself."""
    if alarm is not None:
        pass_time(max(alarm - now(), 0) + TICK)
        signal.raise_signal(signal.SIGALRM)
    with open(FILE + ".hangs", "w") as file:
        file.write(str(os.getpid()))
    while True:
        real_sleep(1e6)


def somebody_hangs():
    try:
        with open(FILE + ".hangs") as file:
            return os.path.exists(f"/proc/{file.read() or 0}")
    except FileNotFoundError:
        return False


def wait(readers, writers, others, seconds=None):
    until = None if seconds is None else now() + seconds
    while True:
        ready = real_select(readers, writers, others, 0.02)
        if any(ready) or (until is not None and now() >= until):
            return ready
        if somebody_hangs():
            pass_time(0.5)


def set_timer(which, seconds):
    global alarm
    alarm = now() + seconds if seconds else None


select.select, signal.setitimer, time.monotonic = wait, set_timer, now
time.sleep = lambda seconds: real_sleep(15 * seconds)  # what it is for has been done by then
