"""A folder of finished stages: what is there is whole, and a run that was killed goes on behind it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from laconic.core.errors import ArtifactError, UsageError
from laconic.core.files import read_json, write_json
from laconic.pipeline.progress import Progress

JOB, SECONDS = "job.json", "seconds.json"
PART = ".laconic-"  # How files are named while they are written.
Make = Callable[[Path], None]


class Workspace:
    """Stages as subfolders, each of which appears under its name only when it is complete.

    Args:
        folder: created if needed.
        job: fingerprint of everything that the stages depend on.
        resume: go on behind the stages that are there; otherwise there must be none.
        progress: told when a stage begins.

    Raises:
        UsageError: the folder holds stages and `resume` is false, or they belong to another job.
        ArtifactError: the folder cannot be written.
    """

    def __init__(self, folder: Path, *, job: str, resume: bool, progress: Progress) -> None:
        self.folder, self.progress = folder, progress
        known = folder / JOB
        if known.exists():
            if not resume:
                raise UsageError(
                    f"{folder}: holds an earlier run. Go on with resume (--resume), or choose another folder."
                )
            if read_json(known).get("job") != job:
                raise UsageError(
                    f"{folder}: belongs to another job (other model, data, budget or settings). Choose another folder."
                )
        elif folder.exists() and not (folder.is_dir() and all(path.name.startswith(PART) for path in folder.iterdir())):
            raise UsageError(f"{folder}: is not empty and was not made by Laconic. Choose another folder.")
        else:
            write_json(known, {"job": job})

    def stage(self, name: str, make: Make) -> Path:
        """Returns the folder of a stage, made by `make` unless it is there already.

        `make` fills a folder that a killed run may have left half-filled, so that training goes on from its checkpoint;
        what was being written at that moment is cleared away.

        Raises:
            ArtifactError: the disk is full, or a file cannot be read or written.
        """
        final, partial = self.folder / name, self.folder / f"{name}.partial"
        if final.exists():
            return final
        self.progress.begin(name)
        start = time.monotonic()
        try:
            partial.mkdir(parents=True, exist_ok=True)
            _sweep(partial)
            make(partial)
            write_json(partial / SECONDS, time.monotonic() - start)
            partial.replace(final)
        except OSError as error:
            place, reason = error.filename or partial, error.strerror or error
            raise ArtifactError(f"{place}: {reason}, in stage {name}. Free some space or mend the place.") from error
        finally:
            self.progress.end()
        return final

    def seconds(self) -> dict[str, float]:
        """Returns how long each finished stage took, by name, in the order in which they ended."""
        finished = sorted(self.folder.glob(f"**/{SECONDS}"), key=lambda path: path.stat().st_mtime)
        return {str(p.parent.relative_to(self.folder)): json.loads(p.read_text()) for p in finished}


def _sweep(folder: Path) -> None:
    """Clears away what was about to get its final name when the process was killed."""
    for path in list(folder.glob(".*")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
