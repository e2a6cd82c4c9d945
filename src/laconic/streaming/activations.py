"""Activations between blocks, on disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from torch import Tensor

from laconic.core.files import read_tensors, write_tensors
from laconic.core.task import Batch
from laconic.streaming.rehearsal import Call


@final
@dataclass(frozen=True)
class Activations:
    """What one block reads, a file a batch.

    Args:
        folder: holds the files.
        calls: of this block, one a batch.
    """

    folder: Path
    calls: Sequence[Call]

    def write(self, batch: int, values: Sequence[Tensor]) -> None:
        """Keeps what the block before answered to a batch."""
        write_tensors(_file(self.folder, batch), {str(place): value for place, value in enumerate(values)})

    def read(self, batch: int) -> list[Tensor]:
        """Returns it."""
        found = read_tensors(_file(self.folder, batch))
        return [found[str(place)] for place in range(len(found))]

    def __iter__(self) -> Iterator[Batch]:
        for batch, call in enumerate(self.calls):
            yield call.batch(self.read(batch))

    def __len__(self) -> int:
        return len(self.calls)

    def drop(self) -> None:
        """Removes the files."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _file(folder: Path, batch: int) -> Path:
    return folder / f"{batch:06d}.safetensors"
