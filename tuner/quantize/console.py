"""What a calibration tells its user on standard error, and how it ends."""
import sys
import time

USAGE, FAILURE, INTERRUPTED = 64, 1, 75


class Trouble(Exception):
    """What went wrong, as a sentence, and what the program exits with."""

    def __init__(self, sentence, code=FAILURE):
        super().__init__(sentence)
        self.code = code


def say(text):
    print(f"salience: {text}", file=sys.stderr, flush=True)


class Progress:
    """Samples done, seconds for each and the time left: in place on a terminal, else a line now and then."""

    def __init__(self, what, total):
        self.what, self.total, self.start, self.told, self.last = what, total, time.monotonic(), 0.0, 0
        self.terminal = sys.stderr.isatty()

    def __call__(self, done):
        now = time.monotonic()
        if done in (0, self.last) or (done < self.total and now - self.told < (0.2 if self.terminal else 10)):
            return
        each, self.told, self.last = (now - self.start) / done, now, done
        text = f"{self.what}: {done} of {self.total} samples, {each:.2f} s each, {each * (self.total - done):.0f} s left"
        if self.terminal:
            print(f"\r{text}\033[K", end="\n" if done == self.total else "", file=sys.stderr, flush=True)
        else:
            say(text)
