"""Peak memory of a fresh process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

from laconic.core.errors import LaconicError, invalid

# On Linux a process's peak starts at what the process that started it held (the kernel keeps the larger of the two
# across exec), so a child of a large Python process never looks small. A launcher of a few megabytes stands between.
_LAUNCHER = """
import os, sys
quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet)
_, status, usage = os.wait4(child, 0)
print(os.waitstatus_to_exitcode(status), usage.ru_maxrss)
"""
_MAXRSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


def peak_memory(command: Sequence[str], *, timeout_seconds: float | None = None) -> int:
    """Runs a command in a process of its own and returns its peak resident set.

    Args:
        command: program and arguments; its standard output is thrown away.
        timeout_seconds: after which it is killed; None waits for ever.

    Returns:
        Bytes, shared libraries included. No less than the launcher's own few megabytes.

    Raises:
        LaconicError: the command cannot be started, fails or takes too long; the message has its last line of errors.

    Guarantees:
        Neither this process's memory nor that of earlier children counts.
        Nothing that was started is left running, even after Ctrl-C.
    """
    if not command:
        raise invalid("peak_memory.command", list(command), "a program and its arguments")
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, *command]
    with subprocess.Popen(
        launcher, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True
    ) as process:
        try:
            report, errors = process.communicate(timeout=timeout_seconds)
        except BaseException as error:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # the launcher leads a group, which the command belongs to
            if isinstance(error, subprocess.TimeoutExpired):
                raise _failure(command, f"took longer than {timeout_seconds} s") from error
            raise
    exit_code, maxrss = map(int, report.split()) if process.returncode == 0 else (process.returncode, 0)
    if exit_code != 0:
        killed = " (killed, perhaps for lack of memory)" if exit_code == -signal.SIGKILL else ""
        raise _failure(command, f"failed with exit code {exit_code}{killed}: {_last_line(errors)}")
    return maxrss * _MAXRSS_UNIT_BYTES


def _last_line(errors: str) -> str:
    return (errors.strip().splitlines() or ["it printed no error"])[-1].strip()


def _failure(command: Sequence[str], what: str) -> LaconicError:
    return LaconicError(f"peak_memory: the process {command[0]} {what}. Run it by hand to see more.")
