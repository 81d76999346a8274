"""A process of its own for what may hang, crash or take the device's context with it: kernels and compilers of others.

Parent and child exchange JSON, one message a line, over a socket; the child's standard output is our standard error, where libraries may
write what they like. The child leads a process group, so that its compilers die with it, and it dies with its parent. Standard library only."""
import ctypes
import faulthandler
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1


class Ended(Exception):
    """The other side is gone; the text says how."""


class Channel:
    def __init__(self, sock):
        self.socket, self.buffer = sock, b""

    def send(self, **message):
        try:
            self.socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError as e:
            raise Ended(str(e)) from None

    def receive(self, until=None):
        """The next message; None where none comes until then (time.monotonic())."""
        while b"\n" not in self.buffer:
            wait = None if until is None else max(until - time.monotonic(), 0)
            if not select.select([self.socket], [], [], wait)[0]:
                return None
            try:
                part = self.socket.recv(1 << 20)
            except ConnectionError:
                part = b""
            if not part:
                raise Ended("the other side has closed the channel")
            self.buffer += part
        line, self.buffer = self.buffer.split(b"\n", 1)
        try:
            return json.loads(line)
        except ValueError:  # a signal cut it short
            raise Ended("the other side was interrupted while it spoke") from None


class Process:
    """`python3 script`, which takes up its end with child_channel(). `settings` is its first message."""

    def __init__(self, script, settings):
        ours, theirs = socket.socketpair()
        with theirs:
            self.popen = subprocess.Popen([sys.executable, script, str(theirs.fileno())], stdin=subprocess.DEVNULL, stdout=sys.stderr,
                                          pass_fds=[theirs.fileno()], start_new_session=True)
        self.channel = Channel(ours)
        self.channel.send(**settings)

    def signal(self, number):
        if self.popen.poll() is None:
            os.kill(self.popen.pid, number)

    def how_it_ended(self):
        """For a child whose channel is closed."""
        try:
            code = self.popen.wait(2)
        except subprocess.TimeoutExpired:
            return "its process gave up the channel"
        if code < 0:
            return f"its process was ended by signal {-code} ({signal.Signals(-code).name})"
        return f"its process ended with exit code {code}"

    def show_stacks(self):
        """On standard error, of all of its threads: where it hangs."""
        self.signal(signal.SIGUSR1)
        time.sleep(0.2)

    def kill(self):
        """The child and what it has started. One that a driver holds back is not waited for."""
        try:
            os.killpg(self.popen.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        try:
            self.popen.wait(2)
        except subprocess.TimeoutExpired:
            pass
        self.channel.socket.close()


def child_channel():
    """The child's end of the channel, and what a child owes to whoever has to explain its end."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return Channel(socket.socket(fileno=int(sys.argv[1])))
