"""A model whose own code is replaced by a list of calls; its modules, parameters and buffers stay what they are."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Self

from torch import Tensor, nn
from torch.fx import GraphModule

from laconic.core.errors import UsageError
from laconic.core.program import Program, device_of

STATE = tuple(vars(nn.Module()))
HELD = ("training", "_parameters", "_buffers", "_non_persistent_buffers_set", "_modules")


class Rewritten(GraphModule):
    """A graph module that has a model's whole tree of modules and calls those that its program names.

    It trains, is copied, pickled, exported and moved like any module: names, ties, hooks of the modules that are
    called, and modes are the model's. Modules that are not called are there for their parameters alone.
    """

    def __init__(self, model: nn.Module, program: Program) -> None:
        """Takes a model over.

        Args:
            model: is used up: its tensors and modules become this one's.
            program: what is computed with them.

        Raises:
            UsageError: the model lacks something that the program reads, or holds it under a name that is taken.
        """
        taken = [name for name in (*program.constants, *model._modules) if hasattr(GraphModule, name)]
        taken += [name for name in program.constants if hasattr(model, name)]
        if taken:
            raise UsageError(f"Rewrite: got a model with {taken[0]!r} in it; expected one without. Rename it.")
        for name, constant in program.constants.items():
            model.register_buffer(name, constant.to(device_of(model), copy=True), persistent=False)
        super().__init__(model, program.graph(model), type(model).__name__)
        self.__dict__.update({name: vars(model)[name] for name in HELD})
        self.program = program

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin._become(copy.deepcopy({name: vars(self)[name] for name in STATE}, memo), self.program, type(self).__name__)
        return twin

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, ({name: vars(self)[name] for name in STATE}, self.program, type(self).__name__)

    def _become(self, state: dict[str, Any], program: Program, name: str) -> None:
        body = nn.Module()
        body.__dict__.update(state)
        GraphModule.__init__(self, body, program.graph(body), name)
        self.__dict__.update(state)
        self.program = program

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Moves or casts; tensors that the program makes follow to the new device."""
        before = device_of(self)
        GraphModule._apply(self, fn, recurse)  # type: ignore[no-untyped-call]  # PyTorch left it untyped
        if device_of(self) != before:
            self.graph = self.program.graph(self)
        return self


def _restored(state: dict[str, Any], program: Program, name: str) -> Rewritten:
    found = Rewritten.__new__(Rewritten)
    found._become(state, program, name)
    return found
