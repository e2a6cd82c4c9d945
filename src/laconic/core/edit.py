"""The kinds of change a model can undergo, as data. `apply` is what carries them out."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, final

import torch
from torch import Tensor

from laconic.core import codings
from laconic.core.activation_grids import Rounding, grid_from_parts
from laconic.core.coding import Coding
from laconic.core.errors import invalid
from laconic.core.files import sha256
from laconic.core.program import Program
from laconic.core.spec import ALL as SPECS
from laconic.core.spec import Spec
from laconic.core.stored import Stored, of_kind

Tensors = Mapping[str, Tensor]


class Edit(Stored):
    """One change of a model. Immutable, comparable by content."""

    @property
    @abstractmethod
    def where(self) -> str:
        """Name of the parameter, module or axis that changes."""

    @abstractmethod
    def __str__(self) -> str:
        """One line: what happens to what."""

    @property
    def digest(self) -> str:
        """SHA-256 over the content; equal edits have equal digests."""
        described = json.dumps([self.kind, self.config()], sort_keys=True)
        parts = [f"{name}{list(t.shape)}{t.dtype}".encode() + _raw(t) for name, t in sorted(self.tensors().items())]
        return sha256(described.encode() + b"".join(parts))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Edit) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


def _raw(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


@final
@dataclass(frozen=True, eq=False)
class Recode(Edit):
    """A parameter takes another representation; every place that shares the parameter follows."""

    kind: ClassVar[str] = "recode"
    parameter: str
    coding: Coding

    @property
    def where(self) -> str:
        """The parameter."""
        return self.parameter

    def config(self) -> dict[str, Any]:
        """Returns the parameter, and the coding's kind and format."""
        return {"parameter": self.parameter, "coding": self.coding.kind, "format": self.coding.config()}

    def tensors(self) -> dict[str, Tensor]:
        """Returns the coding's tensors."""
        return self.coding.tensors()

    @classmethod
    def from_parts(cls, config: Mapping[str, Any], tensors: Tensors) -> Self:
        """Undoes `config` and `tensors`."""
        coding = of_kind(codings.ALL, config["coding"], "Recode.coding")
        return cls(config["parameter"], coding.from_parts(config["format"], tensors))

    def __str__(self) -> str:
        return f"{self.parameter}: {self.coding}, {self.coding.size_bytes:,} bytes"


@final
@dataclass(frozen=True, eq=False)
class RoundActivation(Edit):
    """A module's first input, or its output, is rounded to a grid while the model runs."""

    kind: ClassVar[str] = "round"
    module: str
    side: Literal["input", "output"]
    grid: Rounding

    def __post_init__(self) -> None:
        if self.side not in ("input", "output"):
            raise invalid("RoundActivation.side", self.side, "'input' or 'output'")

    @property
    def where(self) -> str:
        """The module and the side."""
        return f"{self.module}:{self.side}"

    def config(self) -> dict[str, Any]:
        """Returns the place, what shares a range, and the grid's settings."""
        return {"module": self.module, "side": self.side, "per": self.grid.kind, **self.grid.config()}

    def tensors(self) -> dict[str, Tensor]:
        """Returns the grid's tensors."""
        return self.grid.tensors()

    @classmethod
    def from_parts(cls, config: Mapping[str, Any], tensors: Tensors) -> Self:
        """Undoes `config` and `tensors`."""
        return cls(config["module"], config["side"], grid_from_parts(config, tensors))

    def __str__(self) -> str:
        return f"{self.where}: rounded to {self.grid}"


@final
@dataclass(frozen=True, eq=False)
class Slice:
    """What stays of one dimension of one parameter or buffer; `keep` is int64, ascending."""

    tensor: str
    dim: int
    keep: Tensor


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Cut(Edit):
    """A set of coupled slices is removed from every tensor that has them; shapes change.

    Args:
        axis: what the slices have in common, for people.
        slices: what stays, for every parameter and buffer concerned.
        attributes: sizes that the user's modules keep in attributes: `(module, attribute, new value)`; a tuple for
            such as `LayerNorm.normalized_shape`; with dots for objects that a module holds: `config.hidden_size`.
            Words may be in lists that say something of every layer.
    """

    kind: ClassVar[str] = "cut"
    axis: str
    slices: tuple[Slice, ...]
    attributes: tuple[tuple[str, str, int | tuple[int | str, ...]], ...] = ()

    @property
    def where(self) -> str:
        """The axis."""
        return self.axis

    def config(self) -> dict[str, Any]:
        """Returns the axis, which dimensions are cut, and the attributes."""
        dims = [[s.tensor, s.dim] for s in self.slices]
        return {"axis": self.axis, "slices": dims, "attributes": [list(a) for a in self.attributes]}

    def tensors(self) -> dict[str, Tensor]:
        """Returns the kept indices, one tensor a slice."""
        return {f"keep{i}": s.keep for i, s in enumerate(self.slices)}

    @classmethod
    def from_parts(cls, config: Mapping[str, Any], tensors: Tensors) -> Self:
        """Undoes `config` and `tensors`."""
        slices = tuple(Slice(name, dim, tensors[f"keep{i}"]) for i, (name, dim) in enumerate(config["slices"]))
        attributes = tuple(
            (module, name, tuple(value) if isinstance(value, list) else value)
            for module, name, value in config["attributes"]
        )
        return cls(axis=config["axis"], slices=slices, attributes=attributes)

    def __str__(self) -> str:
        if not self.slices:
            return f"{self.axis}: {', '.join(f'{name} = {value}' for _, name, value in self.attributes)}"
        kept = len(self.slices[0].keep)
        return f"{self.axis}: cut to {kept} in {len(self.slices)} tensors"


@final
@dataclass(frozen=True, eq=False)
class Swap(Edit):
    """A module is replaced by another one, built from a declared spec."""

    kind: ClassVar[str] = "swap"
    module: str
    spec: Spec

    @property
    def where(self) -> str:
        """The module."""
        return self.module

    def config(self) -> dict[str, Any]:
        """Returns the module, and the spec's kind and settings."""
        return {"module": self.module, "spec": self.spec.kind, "settings": self.spec.config()}

    def tensors(self) -> dict[str, Tensor]:
        """Returns the new module's initial weights."""
        return self.spec.tensors()

    @classmethod
    def from_parts(cls, config: Mapping[str, Any], tensors: Tensors) -> Self:
        """Undoes `config` and `tensors`."""
        spec = of_kind(SPECS, config["spec"], "Swap.spec")
        return cls(config["module"], spec.from_parts(config["settings"], tensors))

    def __str__(self) -> str:
        return f"{self.module}: replaced by {self.spec}"


@final
@dataclass(frozen=True, eq=False)
class Rewrite(Edit):
    """The model's own code is replaced by a list of calls: of operators, and of modules that the model has."""

    kind: ClassVar[str] = "rewrite"
    program: Program

    @property
    def where(self) -> str:
        """The whole model."""
        return "the model"

    def config(self) -> dict[str, Any]:
        """Returns the calls and the structure of inputs and outputs."""
        return self.program.config()

    def tensors(self) -> dict[str, Tensor]:
        """Returns the constants."""
        return dict(self.program.constants)

    @classmethod
    def from_parts(cls, config: Mapping[str, Any], tensors: Tensors) -> Self:
        """Undoes `config` and `tensors`."""
        return cls(Program.from_parts(config, {name: tensors[name] for name in config["constants"]}))

    def __str__(self) -> str:
        return f"{self.where}: its own code replaced by {len(self.program.calls)} calls"


@final
@dataclass(frozen=True, eq=False)
class Tie(Edit):
    """A parameter becomes the very tensor that another one is: stored once, and changed for both from then on.

    Args:
        parameter: that is given up.
        to: that both are.
    """

    kind: ClassVar[str] = "tie"
    parameter: str
    to: str

    @property
    def where(self) -> str:
        """The parameter that is given up."""
        return self.parameter

    def config(self) -> dict[str, Any]:
        """Returns both names."""
        return {"parameter": self.parameter, "to": self.to}

    def tensors(self) -> dict[str, Tensor]:
        """Returns nothing."""
        return {}

    @classmethod
    def from_parts(cls, config: Mapping[str, Any], tensors: Tensors) -> Self:
        """Undoes `config`."""
        return cls(config["parameter"], config["to"])

    def __str__(self) -> str:
        return f"{self.parameter}: the same tensor as {self.to}"


ALL: tuple[type[Edit], ...] = (Recode, RoundActivation, Cut, Swap, Rewrite, Tie)


def edit_from_parts(kind: str, config: Mapping[str, Any], tensors: Tensors) -> Edit:
    """Reads one edit back.

    Raises:
        UsageError: no edit is of this kind.
    """
    return of_kind(ALL, kind, "Edit.kind").from_parts(config, tensors)
