"""An ordered set of changes: printable, comparable, saved without pickle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from laconic.core.edit import Edit, Recode, Swap, edit_from_parts
from laconic.core.errors import ArtifactError
from laconic.core.files import json_text, read_json, read_tensors, sha256, write_json, write_tensors
from laconic.core.sizes import tensors_size

FORMAT = 1
PLAN_FILE, TENSOR_FILE = "plan.json", "plan.safetensors"


@dataclass(frozen=True)
class Plan:
    """Edits in the order in which they are applied.

    Guarantees:
        `Plan.load(path)` after `plan.save(path)` equals `plan`.
        `apply(apply(model, a), b)` equals `apply(model, a + b)`.

    Example:
        >>> print(Plan())
        Plan: no edits
    """

    edits: tuple[Edit, ...] = ()

    @classmethod
    def of(cls, edits: Iterable[Edit]) -> Self:
        """Collects edits into a plan."""
        return cls(tuple(edits))

    def __add__(self, other: Plan) -> Plan:
        return Plan(self.edits + other.edits)

    def __iter__(self) -> Iterator[Edit]:
        return iter(self.edits)

    def __len__(self) -> int:
        return len(self.edits)

    @property
    def recodes(self) -> tuple[Recode, ...]:
        """The edits that recode a parameter."""
        return tuple(edit for edit in self.edits if isinstance(edit, Recode))

    @property
    def digest(self) -> str:
        """SHA-256 over the content."""
        return sha256("".join(edit.digest for edit in self.edits).encode())

    def without_overwritten(self) -> Plan:
        """Leaves out each recoding that a later one of the same parameter overwrites; the plan does what it did.

        Example:
            >>> import torch
            >>> from laconic.core.codings import Dense
            >>> twice = Plan.of(Recode("w", Dense(torch.tensor([value]))) for value in (1.0, 2.0))
            >>> [edit.coding.decode().item() for edit in twice.without_overwritten().recodes]
            [2.0]
        """
        later: set[str] = set()
        kept: list[Edit] = []
        for edit in reversed(self.edits):
            if isinstance(edit, Swap):  # What it is built from may have been recoded before.
                later = {name for name in later if not name.startswith(f"{edit.module}.")}
            elif isinstance(edit, Recode):
                if edit.parameter in later:
                    continue
                later.add(edit.parameter)
            kept.append(edit)
        return Plan(tuple(reversed(kept)))

    def __str__(self) -> str:
        if not self.edits:
            return "Plan: no edits"
        return "\n".join([f"Plan: {len(self)} edit{'s' * (len(self) > 1)}", *(f"  {edit}" for edit in self.edits)])

    def diff(self, other: Plan) -> str:
        """Returns what changes from this plan to another, a line an edit: `-` only here, `+` only there."""
        here, there = set(self.edits), set(other.edits)
        gone = [f"- {edit}" for edit in self.edits if edit not in there]
        come = [f"+ {edit}" for edit in other.edits if edit not in here]
        return "\n".join(gone + come)

    def save(self, folder: str | Path) -> None:
        """Writes `plan.json` and `plan.safetensors` into a folder."""
        folder = Path(folder)
        write_tensors(folder / TENSOR_FILE, self._tensors())
        write_json(folder / PLAN_FILE, self._described())

    @property
    def size_bytes(self) -> int:
        """Bytes of the two files that `save` writes, headers and descriptions included."""
        return tensors_size(self._tensors()) + len(json_text(self._described()).encode())

    def _tensors(self) -> dict[str, Tensor]:
        return {f"{i}.{name}": t for i, edit in enumerate(self.edits) for name, t in edit.tensors().items()}

    def _described(self) -> dict[str, Any]:
        entries = [{"kind": edit.kind, **edit.config()} for edit in self.edits]
        return {"format": FORMAT, "digest": self.digest, "edits": entries}

    @classmethod
    def load(cls, folder: str | Path) -> Plan:
        """Reads a plan back; nothing in it is executed.

        Raises:
            ArtifactError: a file is missing or damaged, or the two do not belong together.
        """
        folder = Path(folder)
        described, tensors = read_json(folder / PLAN_FILE), read_tensors(folder / TENSOR_FILE)
        try:
            if described["format"] != FORMAT:
                raise ArtifactError(f"{folder / PLAN_FILE}: format {described['format']}; this version reads {FORMAT}.")
            plan = cls.of(
                edit_from_parts(entry.pop("kind"), entry, _part(tensors, i))
                for i, entry in enumerate(described["edits"])
            )
        except ArtifactError:
            raise
        except Exception as error:
            # Any edit, coding or spec may be read here: whatever it trips over, the file is at fault.
            raise ArtifactError(f"{folder / PLAN_FILE}: damaged, an edit cannot be read ({error}).") from error
        if plan.digest != described.get("digest"):
            raise ArtifactError(f"{folder / PLAN_FILE}: damaged, or {TENSOR_FILE} beside it belongs to another plan.")
        return plan


def _part(tensors: dict[str, Tensor], index: int) -> dict[str, Tensor]:
    prefix = f"{index}."
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
