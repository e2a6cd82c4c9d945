"""A model that was compressed part by part, on disk."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, final

from torch import nn

from laconic.core.errors import ArtifactError
from laconic.core.files import read_json, write_json
from laconic.core.plan import Plan
from laconic.core.state import load_state, save_state
from laconic.streaming.parts import around, blocks_of, in_memory

FORMAT = 1
MANIFEST, OUTER = "stream.json", "outer"


@final
@dataclass(frozen=True, kw_only=True)
class Part:
    """One finished part.

    Args:
        path: of the block in the model; empty: everything around the blocks.
        folder: in which it lies.
        size_bytes: of its files.
        original_bytes: of its tensors in the checkpoint.
        error: the change of the block's answers on the calibration data, `|y' - y|^2 / |y|^2`, both for the inputs that
            the compressed model gives it; None around the blocks, and where there was no data.
    """

    path: str
    folder: str
    size_bytes: int
    original_bytes: int
    error: float | None


@final
@dataclass(frozen=True, kw_only=True)
class Streamed:
    """What `stream` has written.

    Args:
        folder: holds a folder for each part.
        blocks: path of the blocks in the model.
        settings: digest of what was asked for.
        parts: those that are finished, blocks in order first.
        done: whether all are.
    """

    folder: Path
    blocks: str
    settings: str
    parts: tuple[Part, ...] = ()
    done: bool = False

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Reads what a folder says it holds.

        Raises:
            ArtifactError: the description is missing or damaged.
        """
        folder = Path(folder)
        described = read_json(folder / MANIFEST)
        try:
            if described["format"] != FORMAT:
                raise ArtifactError(f"{folder / MANIFEST}: format {described['format']}; this version reads {FORMAT}.")
            parts = tuple(Part(**part) for part in described["parts"])
            if any(Path(part.folder).name != part.folder for part in parts):
                raise ArtifactError(f"{folder / MANIFEST}: names a folder outside its own.")
            return cls(
                folder=folder,
                blocks=described["blocks"],
                settings=described["settings"],
                parts=parts,
                done=described["done"],
            )
        except (KeyError, TypeError) as error:
            raise ArtifactError(f"{folder / MANIFEST}: damaged ({error}).") from error

    def save(self) -> None:
        """Writes the description."""
        parts = [vars(part) for part in self.parts]
        content: dict[str, Any] = {"format": FORMAT, "blocks": self.blocks, "settings": self.settings}
        write_json(self.folder / MANIFEST, {**content, "parts": parts, "done": self.done})

    def finished(
        self, path: str, folder: str, part: nn.Module, plan: Plan, *, original_bytes: int, error: float | None
    ) -> Self:
        """Writes a part, and returns the description with it.

        Args:
            path: of the block; empty: everything around the blocks, which is the last.
            folder: in which it is to lie.
            part: with the weights that the plan says, in the types of the checkpoint.
            plan: what was done to it.
            original_bytes: as in `Part`.
            error: likewise.
        """
        save_state(self.folder / folder, part, plan)
        written = sum(file.stat().st_size for file in (self.folder / folder).iterdir())
        found = Part(path=path, folder=folder, size_bytes=written, original_bytes=original_bytes, error=error)
        state = replace(self, parts=(*self.parts, found), done=not path)
        state.save()
        return state

    @property
    def size_bytes(self) -> int:
        """Bytes of all parts' files."""
        return sum(part.size_bytes for part in self.parts)

    @property
    def original_bytes(self) -> int:
        """Bytes of the same tensors in the checkpoint."""
        return sum(part.original_bytes for part in self.parts)

    def plans(self) -> Iterator[tuple[Part, Plan]]:
        """Yields each part with its plan, one after the other; names are those that the part knows."""
        for part in self.parts:
            yield part, Plan.load(self.folder / part.folder)

    def load_block(self, model: nn.Module, path: str) -> nn.Module:
        """Returns one block with its decoded weights.

        Args:
            model: built as for `stream`; left untouched.
            path: of the block.

        Raises:
            ArtifactError: it is not finished, or the model is another one.
        """
        network, _ = load_state(self._of(path), in_memory(copy.deepcopy(blocks_of(model, self.blocks)[path])))
        return network

    def load(self, model: nn.Module) -> nn.Module:
        """Returns the whole model with its decoded weights: it has to fit into memory.

        Raises:
            ArtifactError: it is not finished, or the model is another one.
        """
        paths = list(blocks_of(model, self.blocks))
        outer, _ = load_state(self._of(""), in_memory(around(model, self.blocks)))
        blocks = outer.get_submodule(self.blocks)
        for path in paths:
            setattr(blocks, path.rpartition(".")[2], self.load_block(model, path))
        return outer

    def _of(self, path: str) -> Path:
        found = next((part for part in self.parts if part.path == path), None)
        if found is None:
            raise ArtifactError(f"{self.folder}: {path or 'the part around the blocks'} is not finished. Run it again.")
        return self.folder / found.folder
