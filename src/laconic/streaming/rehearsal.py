"""What a model's own code does around its blocks, found out while the blocks stand still."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from laconic.core.errors import ModelError
from laconic.core.task import Batch

PLAIN = (type(None), bool, int, float, str, torch.dtype, torch.device)


class AllSeen(Exception):  # noqa: N818 - it ends a forward pass that has told all it has to tell
    """Every block has been called."""


class Carried(NamedTuple):
    """In a block's arguments: a tensor that the block before answered with, by its place among those."""

    place: int


class Call(NamedTuple):
    """How a block is called: its arguments, with `Carried` for what the block before answers."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @classmethod
    def of(cls, args: tuple[Any, ...], kwargs: dict[str, Any], before: Sequence[Tensor], block: int) -> Call:
        """Notes a call.

        Raises:
            ModelError: nothing of what the block before answered is in it, or something else than tensors and plain
                values is.
        """
        places = {id(tensor): place for place, tensor in enumerate(before)}
        leaves, structure = pytree.tree_flatten((args, kwargs))
        marked = [Carried(places[id(leaf)]) if id(leaf) in places else leaf for leaf in leaves]
        for leaf in marked:
            if not isinstance(leaf, (Tensor, Carried, *PLAIN)):
                raise ModelError(
                    f"stream: block {block} is called with a {type(leaf).__name__}; expected tensors and plain values. "
                    "A cache of keys and values has to be off: pass Task(call=...) with use_cache=False."
                )
        if not any(isinstance(leaf, Carried) for leaf in marked):
            raise ModelError(
                f"stream: block {block} is not called with what block {block - 1} answers; expected nothing between "
                "them. Name another list of modules with blocks=."
            )
        # `Carried` is a tuple, which a structure would be taken apart by: it is rebuilt from leaves as they are.
        return cls(*pytree.tree_unflatten(marked, structure))

    def batch(self, before: Sequence[Tensor]) -> Batch:
        """Returns the call with what the block before answered."""

        def given(value: Any) -> Any:
            return before[value.place] if isinstance(value, Carried) else value

        args, kwargs = pytree.tree_map(given, (self.args, self.kwargs), is_leaf=lambda x: isinstance(x, Carried))
        return Batch(args=args, kwargs=kwargs)


def carried(answer: Any) -> list[Tensor]:
    """Returns the tensors that a block answers with."""
    return [leaf for leaf in pytree.tree_leaves(answer) if isinstance(leaf, Tensor)]


@dataclass
class Rehearsal:
    """One forward pass of a model whose blocks stand still.

    Args:
        count: of blocks.
        pattern: an answer of a block, for its structure; None: the pass ends at the first block.
        last: what the last block answers, tensors only; None: the pass ends there.
    """

    count: int
    pattern: Any = None
    last: Sequence[Tensor] | None = None
    calls: list[Call] = field(default_factory=list)
    first: list[Tensor] = field(default_factory=list)
    _before: list[Tensor] = field(default_factory=list)

    def answer(self, place: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Notes the call of a block and answers for it.

        Raises:
            AllSeen: the pass has to go no further.
            ModelError: blocks are not called one after the other, each once, or in a way that cannot be followed.
        """
        if place != len(self.calls):
            raise ModelError(
                f"stream: block {place} is called after {len(self.calls)} blocks; expected all of them, in order, once."
            )
        if place == 0:
            self._before = self.first = carried((args, kwargs))[:1]
        self.calls.append(Call.of(args, kwargs, self._before, place))
        if self.pattern is None or (place == self.count - 1 and self.last is None):
            raise AllSeen
        self._before = [torch.zeros_like(self.first[0]) for _ in carried(self.pattern)]
        return _like(self.pattern, self.last if place == self.count - 1 and self.last else self._before)


def _like(pattern: Any, values: Sequence[Tensor]) -> Any:
    """Returns a structure with other tensors."""
    left = iter(values)
    return pytree.tree_map(lambda leaf: next(left) if isinstance(leaf, Tensor) else leaf, pattern)
