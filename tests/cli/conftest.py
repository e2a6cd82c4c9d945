"""Commands run the way a shell runs them: in a process of their own, with its exit code and what it printed."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from . import nets

HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line that it said on standard error; the test fails if it said more, less, or anything else."""
        assert self.out == "" and self.err.startswith("laconic: ") and self.err.count("\n") == 1, self
        return self.err.removeprefix("laconic: ").strip()

    @property
    def json(self) -> dict[str, Any]:
        """The one object on standard output; the test fails if there is anything else."""
        assert self.out.count("\n") == 1 and self.err == "", self
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


Laconic = Callable[..., Ran]


@pytest.fixture(scope="session")
def laconic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laconic]:
    """Runs a command; `moment` and `signal` hit it where it stands. None may leave anything in the temporary folder."""
    heard, temporary = tmp_path_factory.mktemp("heard"), tmp_path_factory.mktemp("temporary")
    places = {"stdout": heard / "out", "stderr": heard / "err", "temporary": temporary}
    command = [sys.executable, str(HERE / "zygote.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as zygote:

        def run(*arguments: object, moment: str = "", signal: int = 0, terminal: str = "") -> Ran:
            job = {"arguments": [*map(str, arguments)], "folder": HERE, "moment": moment, "signal": signal}
            job["terminal"] = terminal
            zygote.stdin.write(json.dumps({**job, **places}, default=str) + "\n")
            zygote.stdin.flush()
            return Ran(
                code=int(zygote.stdout.readline()), out=places["stdout"].read_text(), err=places["stderr"].read_text()
            )

        yield run
    assert list(temporary.iterdir()) == []


@pytest.fixture(scope="session")
def result(laconic: Laconic, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `laconic compress` wrote; tests only look at it."""
    out = tmp_path_factory.mktemp("result") / "out"
    ran = laconic("compress", "nets:build", "--data", "nets:task", "--epochs", 1, "--size", "0.9", "--out", out)
    assert ran.code == 0, ran
    assert "Artifact:" in ran.out and ran.err == ""
    return out


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """A folder of arrays, as a person saves them: float64, since that is what NumPy makes."""
    folder = tmp_path / "arrays"
    folder.mkdir()
    x, y = nets.pairs()
    for part in ("train", "test"):
        np.save(folder / f"{part}_x.npy", x.double().numpy())
        np.save(folder / f"{part}_y.npy", y.numpy())
    return folder
