"""One model of the zoo: a name, and how to build it small with random weights and inputs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

Inputs = tuple[Any, ...] | Mapping[str, Any]
Built = tuple[nn.Module, Inputs]


@dataclass(frozen=True)
class Entry:
    """A model that is checked.

    Args:
        name: unique in the zoo, `family/name`.
        build: makes the model and example inputs, positional or named.
        coarse: so small that one slice is more than the ratio may miss; then it is enough that a miss is said.
    """

    name: str
    build: Callable[[], Built]
    coarse: bool = False

    @property
    def family(self) -> str:
        """The library it comes from."""
        return self.name.partition("/")[0]
