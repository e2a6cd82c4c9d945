"""What is kept as JSON values and tensors, and read back without executing anything."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self, TypeVar

from torch import Tensor

from laconic.core.errors import invalid


class Stored(ABC):
    """Comes apart into settings and tensors, and can be put together again from them."""

    kind: ClassVar[str]

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Returns everything but tensors, as JSON values."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Returns the tensors, packed."""

    @classmethod
    @abstractmethod
    def from_parts(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """Undoes `config` and `tensors`."""


Kind = TypeVar("Kind", bound=Stored)


def of_kind(known: tuple[type[Kind], ...], kind: str, where: str) -> type[Kind]:
    """Looks a class up by its `kind`.

    Raises:
        UsageError: there is none; `where` says what asked.
    """
    for candidate in known:
        if candidate.kind == kind:
            return candidate
    raise invalid(where, kind, f"one of {', '.join(c.kind for c in known)}")
