"""Runs a function in a child process with a limit on its processor time: a crash or a hang is a result too."""

import json
import os
import resource
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

PATIENCE = 20
"""Wall-clock seconds granted for each second of processor time, since the machine may be busy."""


@dataclass(frozen=True)
class Apart:
    """A child process at work.

    Args:
        pid: of the child.
        answers: the end of the pipe that its answer comes out of.
        limit_s: processor time that it may take.
    """

    pid: int
    answers: int
    limit_s: int

    def result(self) -> tuple[Any, str]:
        """Waits, and returns what the function returned and an empty text, or None and what went wrong."""
        try:
            said, in_time = _read_all(self.answers, time.monotonic() + PATIENCE * self.limit_s)
            if not in_time:
                os.kill(self.pid, signal.SIGKILL)
        finally:
            os.close(self.answers)
            _, status = os.waitpid(self.pid, 0)
        if said and in_time:
            found = json.loads(said)
            return found["result"], found["error"]
        code = os.waitstatus_to_exitcode(status)
        if code in (-signal.SIGXCPU, -signal.SIGKILL):
            return None, f"no answer within {self.limit_s} seconds of processor time"
        return None, f"the process ended with status {code}"


def apart(function: Callable[[], Any], limit_s: int) -> Apart:
    """Starts a function, whose result JSON can hold, in a fork: what is imported here need not be imported there."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        _answer(function, write, limit_s)
    os.close(write)
    return Apart(child, read, limit_s)


def _answer(function: Callable[[], Any], write: int, limit_s: int) -> None:
    """Ends the process in any case."""
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s + 1))
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        try:
            answer = {"result": function(), "error": ""}
        except BaseException as failure:
            lines = str(failure).strip().splitlines() or [""]
            answer = {"result": None, "error": f"{type(failure).__name__}: {lines[0]}"[:300]}
        with os.fdopen(write, "w") as pipe:
            json.dump(answer, pipe)
    finally:
        os._exit(0)


def _read_all(read: int, until: float) -> tuple[bytes, bool]:
    """Returns what comes until the other end is closed, and whether it was in time."""
    said = b""
    while (left := until - time.monotonic()) > 0:
        ready, _, _ = select.select([read], [], [], left)
        if ready:
            part = os.read(read, 65536)
            if not part:
                return said, True
            said += part
    return said, False
