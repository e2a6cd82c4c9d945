"""What a run writes down about itself, through the trackers of `accelerate`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

from accelerate import Accelerator  # type: ignore[import-untyped]  # The package ships no types.
from accelerate.tracking import GeneralTracker, get_available_trackers  # type: ignore[import-untyped]  # The same.

from laconic.core.errors import invalid
from laconic.core.files import write_text
from laconic.train.step import Step

Trackers = Sequence["str | GeneralTracker"]
"""Names (`"tensorboard"`, `"wandb"`, `"mlflow"`, ...) or trackers of one's own."""


def check_trackers(trackers: Trackers, folder: Path | None) -> None:
    """Refuses trackers that are not installed, of which accelerate says nothing, or that have no place to write.

    Raises:
        UsageError: names the tracker.
    """
    known = [str(getattr(name, "value", name)) for name in get_available_trackers()]
    for tracker in trackers:
        if isinstance(tracker, GeneralTracker):
            continue
        if tracker not in known:
            expected = f"one of {', '.join(known) or 'none, as none is installed'}, or a tracker object"
            raise invalid("trackers", tracker, expected, f"Install it, as with `pip install {tracker}`.")
        if tracker == "tensorboard" and folder is None:
            raise invalid("trackers", tracker, "a folder to write to beside it", "Pass work=...")


@contextmanager
def tracking(accelerator: Accelerator, settings: Mapping[str, str]) -> Iterator[None]:
    """Starts the trackers of a run with its settings, and closes them whatever happens."""
    if accelerator.log_with:
        accelerator.init_trackers("laconic", config=dict(settings))
    try:
        yield
    finally:
        for tracker in accelerator.trackers:
            tracker.finish()


def log_step(accelerator: Accelerator, step: Step, metric: str) -> None:
    """Gives the trackers a step's terms, weighted and unweighted, learning rate, and score and pairing if any."""
    found = {"loss": sum(step.losses.values()), "learning_rate": step.learning_rate}
    found |= {f"weighted/{_key(name)}": value for name, value in step.losses.items()}
    found |= {f"unweighted/{_key(name)}": value for name, value in step.unweighted.items()}
    for layer, shares in step.pairing.items():
        found |= {f"pairing/{_key(layer)} from {_key(other)}": share for other, share in shares.items()}
    if step.score is not None:
        found[f"validation/{_key(metric)}"] = step.score
    accelerator.log(found, step=step.step)


def _key(name: str) -> str:
    # MLflow takes no other characters.
    return re.sub(r"[^\w\-. /]+", "_", name)


@final
class JsonLines(GeneralTracker):  # type: ignore[misc]  # An untyped class.
    r"""A tracker that writes one JSON object a line: the run's settings, then one line for each step.

    Args:
        path: of the file. A run that goes on goes on in it: lines of steps that are made again are replaced.

    Example:
        >>> import tempfile
        >>> tracker = JsonLines(Path(tempfile.mkdtemp()) / "run.jsonl")
        >>> tracker.log({"loss": 0.5}, step=1)
        >>> tracker.path.read_text()
        '{"step": 1, "loss": 0.5}\n'
    """

    name = "json lines"
    requires_logging_directory = False

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._entered = False

    @property
    def tracker(self) -> Path:
        """What is written to."""
        return self.path

    def store_init_configuration(self, values: Mapping[str, Any]) -> None:
        """Writes the run's settings, unless the file has some."""
        if not self.path.exists():
            write_text(self.path, json.dumps({"settings": dict(values)}) + "\n")

    def log(self, values: Mapping[str, Any], step: int | None = None, **kwargs: Any) -> None:
        """Appends a line."""
        if not self._entered:
            self._forget_from(step)
            self._entered = True
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")

    def _forget_from(self, step: int | None) -> None:
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        kept = [line for line in lines if _step(line) < (step or 0)]
        write_text(self.path, "".join(f"{line}\n" for line in kept))


def _step(line: str) -> float:
    try:
        return float(json.loads(line).get("step") or 0)
    except (ValueError, AttributeError):
        return float("inf")  # Cut off when its run was killed.
