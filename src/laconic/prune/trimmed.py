"""A model with a smaller vocabulary, and the way from old ids to new ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from laconic.core.errors import ArtifactError, DataError
from laconic.core.files import read_tensors, write_tensors
from laconic.core.metric import IGNORED_LABEL
from laconic.core.plan import Plan
from laconic.core.task import Batch, Task
from laconic.prune.pruned import Pruned

NO_ID = -1


@dataclass(frozen=True, kw_only=True, eq=False)
class IdMap:
    """Old ids to new ones, in the same order.

    Args:
        new: int64, one entry an old id: its new one; that of the id for unknown ones, or -1, where it is gone.
        kept: int64, one entry a new id: its old one, ascending.

    Example:
        >>> ids = IdMap.of(torch.tensor([0, 2]), size=3)
        >>> ids(torch.tensor([[2, 0]]))
        tensor([[1, 0]])
    """

    FILE: ClassVar[str] = "vocabulary.safetensors"
    new: Tensor
    kept: Tensor

    @classmethod
    def of(cls, kept: Tensor, size: int, unknown: int | None = None) -> Self:
        """Builds the map.

        Args:
            kept: the old ids that stay, ascending.
            size: number of old ids.
            unknown: the old id that takes the place of those that go, or None.
        """
        new = torch.full((size,), NO_ID)
        new[kept] = torch.arange(len(kept))
        return cls(new=new if unknown is None else torch.where(new == NO_ID, new[unknown], new), kept=kept)

    def __call__(self, ids: Tensor) -> Tensor:
        """Returns the new ids, in the dtype of the old ones.

        Raises:
            DataError: an id is not in the old vocabulary, or is gone and there is none for unknown ones.
        """
        flat = ids.long()
        if ids.numel() and (int(flat.min()) < 0 or int(flat.max()) >= len(self.new)):
            wrong = flat[(flat < 0) | (flat >= len(self.new))][0]
            raise DataError(f"vocabulary: got the id {int(wrong)}; expected 0 to {len(self.new) - 1}.")
        found = self.new.to(ids.device)[flat]
        if bool((found == NO_ID).any()):
            gone = int(flat[found == NO_ID][0])
            raise DataError(
                f"vocabulary: got the id {gone}, which was cut; expected one that is left. Trim with unknown=ID."
            )
        return found.to(ids.dtype)

    def save(self, folder: str | Path) -> None:
        """Writes `vocabulary.safetensors` into a folder."""
        write_tensors(Path(folder) / self.FILE, {"new": self.new, "kept": self.kept})

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Reads what `save` wrote.

        Raises:
            ArtifactError: the file is missing or damaged.
        """
        path = Path(folder) / cls.FILE
        found = read_tensors(path)
        if found.keys() != {"new", "kept"} or any(tensor.dtype != torch.int64 for tensor in found.values()):
            raise ArtifactError(f"{path}: holds no ids; expected the file that trim_vocabulary's result saves.")
        return cls(new=found["new"], kept=found["kept"])


@dataclass(frozen=True, kw_only=True, eq=False)
class Trimmed:
    """What `trim_vocabulary` returns.

    Args:
        pruned: the smaller model, its plan, and what it costs.
        ids: leads from old ids to new ones.
        sources: positions of the ids among the model's flattened inputs.
        predicted: whether the model's answers are over the ids, too, and have shrunk with them.
    """

    pruned: Pruned
    ids: IdMap
    sources: tuple[int, ...]
    predicted: bool

    @property
    def model(self) -> nn.Module:
        """The smaller model, which takes new ids."""
        return self.pruned.model

    @property
    def plan(self) -> Plan:
        """What leads from the original to the smaller model."""
        return self.pruned.plan

    def inputs(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Returns a model's inputs with new ids."""
        return with_new_ids(self.ids, self.sources, args, kwargs)

    def batch(self, batch: Batch) -> Batch:
        """Returns a batch with new ids; also as labels, where the model predicts ids."""
        args, kwargs = self.inputs(batch.args, batch.kwargs)
        labels = batch.labels
        if self.predicted and labels is not None:
            counts = labels != IGNORED_LABEL
            labels = labels.clone()
            labels[counts] = self.ids(labels[counts])
        return Batch(args=args, kwargs=kwargs, labels=labels)

    def task(self, task: Task) -> Task:
        """Returns a task of the smaller model: the same data, with new ids."""
        return replace(task, split=lambda raw: self.batch(task.split(raw)))

    def save(self, folder: str | Path) -> None:
        """Writes the model into the folder `pruned` in it, and the ids beside that.

        `load_pruned(folder / "pruned", original)` gives back the model, `IdMap.load(folder)` the ids.

        Raises:
            ModelError, ArtifactError: as `Pruned.save`.
        """
        self.pruned.save(Path(folder) / "pruned")
        self.ids.save(folder)

    def __str__(self) -> str:
        return str(self.pruned)


def with_new_ids(
    ids: IdMap, sources: tuple[int, ...], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Returns inputs with new ids in the named positions among all of them, flattened."""
    leaves, structure = pytree.tree_flatten((tuple(args), dict(kwargs)))
    changed = [ids(leaf) if i in sources else leaf for i, leaf in enumerate(leaves)]
    found: tuple[tuple[Any, ...], dict[str, Any]] = pytree.tree_unflatten(changed, structure)
    return found
