"""Every pattern is pruned with nothing said about it, runs, learns, and is loaded in a process that never pruned it."""

import subprocess
import sys
from pathlib import Path

import pytest

from . import patterns
from .checks import CHECKS, Row, judge

ENTRIES = {entry.name: entry for entry in patterns.ENTRIES}
ASKED = tuple(check for check in CHECKS if check != "onnx")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pruned patterns are saved."""
    return tmp_path_factory.mktemp("patterns")


@pytest.fixture(scope="module")
def judged(folder: Path) -> dict[str, Row]:
    """What became of each pattern that was asked for so far."""
    return {}


def row_of(name: str, folder: Path, judged: dict[str, Row]) -> Row:
    if name not in judged:
        judged[name] = judge(ENTRIES[name], folder / name, ASKED)
    return judged[name]


# PyTorch says on some machines that a projected LSTM runs on its slower path.
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")
@pytest.mark.parametrize("name", ENTRIES)
def test_pattern_is_pruned_with_nothing_said_about_it(name, folder, judged):
    row = row_of(name, folder, judged)
    assert not row.failures
    assert set(row.passed) == {*ASKED} - {"reload"}


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")
def test_saved_patterns_are_the_same_in_a_process_that_never_pruned_them(folder, judged):
    for name in ENTRIES:
        row_of(name, folder, judged)
    command = [sys.executable, "-m", "zoo.reload", str(folder)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(ENTRIES)
