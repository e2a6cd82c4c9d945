import os
import sys
import time
from pathlib import Path

import pytest

from laconic.core.errors import LaconicError, UsageError
from laconic.measure import peak_memory

MEGABYTE = 1_000_000


def python(code):
    return [sys.executable, "-I", "-S", "-c", code]


def test_a_child_that_fills_200_megabytes_and_frees_them_is_seen_to_have_had_them():
    idle = peak_memory(python("pass"))
    busy = peak_memory(python("x = bytearray(b'1') * 200_000_000; del x"))
    assert 200 * MEGABYTE <= busy <= 400 * MEGABYTE
    assert 195 * MEGABYTE <= busy - idle <= 230 * MEGABYTE


def test_neither_this_process_nor_earlier_children_count():
    here = bytearray(b"1") * (150 * MEGABYTE)
    peak_memory(python("x = bytearray(b'1') * 150_000_000"))
    assert peak_memory(python("pass")) < 60 * MEGABYTE
    assert len(here) == 150 * MEGABYTE


def test_a_command_that_fails_is_an_error_with_its_exit_code_and_last_line():
    with pytest.raises(LaconicError, match=r"failed with exit code 3: the last words\. Run it by hand"):
        peak_memory(python("import sys; print('first\\nthe last words', file=sys.stderr); sys.exit(3)"))


def test_a_command_that_fails_silently_is_said_to_have():
    with pytest.raises(LaconicError, match=r"exit code 1: it printed no error"):
        peak_memory(["false"])


def test_a_command_that_is_killed_is_said_to_have_been():
    with pytest.raises(LaconicError, match=r"exit code -9 \(killed, perhaps for lack of memory\)"):
        peak_memory(python("import os; os.kill(os.getpid(), 9)"))


def test_a_command_that_does_not_exist_is_an_error_that_names_it():
    with pytest.raises(LaconicError, match=r"no-such-program"):
        peak_memory(["no-such-program"])


def test_an_empty_command_is_refused():
    with pytest.raises(UsageError, match=r"peak_memory.command: got \[\]"):
        peak_memory([])


def test_what_the_command_prints_does_not_disturb_the_measurement():
    assert peak_memory(python("print('7 7' * 100_000)")) > MEGABYTE


def test_a_command_that_takes_too_long_is_ended_with_its_own_process(tmp_path):
    note = tmp_path / "pid"
    code = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    with pytest.raises(LaconicError, match=r"took longer than 2 s"):
        peak_memory(python(code), timeout_seconds=2)
    assert ended(int(note.read_text()))


def ended(pid):
    for _ in range(500):  # the orphan is gone once init has reaped it; a zombie has ended as well
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.01)
    return False
