"""What a swapped-in module is built from: settings and initial weights, never code."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, final

import torch
from torch import Tensor, nn

from laconic.core.derived import with_own_weights
from laconic.core.errors import invalid
from laconic.core.stored import Stored

CONVOLUTIONS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
"""By their number of spatial dimensions; what their constructors take differs only in its length."""


class Spec(Stored):
    """Declares a module that can take another's place. Immutable; concrete specs are final."""

    @abstractmethod
    def build(self, old: nn.Module) -> nn.Module:
        """Returns the new module, on the old one's device and in its dtype."""


@final
@dataclass(frozen=True, eq=False)
class Identity(Spec):
    """The input is the output: the module is left out."""

    kind: ClassVar[str] = "identity"

    def build(self, old: nn.Module) -> nn.Module:
        """Returns `nn.Identity`."""
        return nn.Identity()

    def config(self) -> dict[str, Any]:
        """Returns nothing: there is nothing to set."""
        return {}

    def tensors(self) -> dict[str, Tensor]:
        """Returns nothing."""
        return {}

    @classmethod
    def from_parts(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """Undoes `config` and `tensors`."""
        return cls()

    def __str__(self) -> str:
        return "the identity"


class _Chain(nn.Sequential):
    """Layers in the place of one, which code around it may ask for what it asked that one for: type, device, sizes."""

    @property
    def weight(self) -> Tensor:
        """The product of linear layers' weights; of convolutions nothing, as a tensor of their type and device."""
        layers: list[Any] = list(self)
        weight: Tensor = layers[-1].weight
        return weight @ layers[0].weight if isinstance(layers[-1], nn.Linear) else weight.new_empty(0)

    @property
    def bias(self) -> Tensor | None:
        """That of the last layer."""
        last: Any = self[-1]
        bias: Tensor | None = last.bias
        return bias

    def _get_name(self) -> str:
        return nn.Sequential.__name__


@final
@dataclass(frozen=True, eq=False)
class LowRank(Spec):
    """A linear layer as the product of two thinner ones: `y = second @ (first @ x) + bias`.

    Args:
        first: `[rank, in]`.
        second: `[out, rank]`.
    """

    kind: ClassVar[str] = "low_rank"
    first: Tensor
    second: Tensor

    @property
    def rank(self) -> int:
        """Width of the middle."""
        return self.first.shape[0]

    def build(self, old: nn.Module) -> nn.Module:
        """Returns two real `nn.Linear` layers; the bias of the old one goes to the second."""
        expected = (self.second.shape[0], self.first.shape[1])
        if not isinstance(old, nn.Linear) or tuple(old.weight.shape) != expected:
            raise invalid("LowRank.build", old, f"an nn.Linear with a weight of {list(expected)}")
        # `old.bias` is None for a layer without bias, whatever its annotation says.
        bias: Tensor | None = old.bias
        # On the meta device nothing is initialised, which would draw from the global random state.
        narrow = nn.Linear(self.first.shape[1], self.rank, bias=False, device="meta").to_empty(device="cpu")
        wide = nn.Linear(self.rank, self.second.shape[0], bias=bias is not None, device="meta").to_empty(device="cpu")
        with torch.no_grad():
            narrow.weight.copy_(self.first)
            wide.weight.copy_(self.second)
            if bias is not None:
                wide.bias.copy_(bias)
        return _Chain(narrow, wide).to(old.weight).requires_grad_(old.weight.requires_grad)

    def config(self) -> dict[str, Any]:
        """Returns nothing: the tensors say all."""
        return {}

    def tensors(self) -> dict[str, Tensor]:
        """Returns both factors."""
        return {"first": self.first, "second": self.second}

    @classmethod
    def from_parts(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """Undoes `config` and `tensors`."""
        return cls(tensors["first"], tensors["second"])

    def __str__(self) -> str:
        return f"two linear layers of rank {self.rank}"


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """One convolution of a chain; it has no bias.

    Args:
        weight: `[outputs, inputs / groups, *kernel]`.
        stride: one number a spatial dimension, as are the next two.
        padding: on both sides.
        dilation: of the kernel.
        groups: of channels.
    """

    weight: Tensor
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1


@final
@dataclass(frozen=True, eq=False)
class Convolutions(Spec):
    """A convolution as a chain of cheaper ones; the last adds the bias of the old one.

    Args:
        stages: from the input to the output.
    """

    kind: ClassVar[str] = "convolutions"
    stages: tuple[Stage, ...]

    def build(self, old: nn.Module) -> nn.Module:
        """Returns real convolutions, one a stage, which pad as the old one does."""
        first, last = self.stages[0].weight, self.stages[-1].weight
        channels, kind = (first.shape[1] * self.stages[0].groups, last.shape[0]), CONVOLUTIONS[first.dim() - 2]
        if not isinstance(old, kind) or (old.in_channels, old.out_channels) != channels:
            raise invalid(
                "Convolutions.build", old, f"an nn.{kind.__name__} from {channels[0]} to {channels[1]} channels"
            )
        built = [_convolution(stage, old.padding_mode) for stage in self.stages]
        bias: Tensor | None = old.bias
        if bias is not None:
            built[-1].bias = nn.Parameter(bias.detach().clone())
        return _Chain(*built).to(old.weight).requires_grad_(old.weight.requires_grad)

    def config(self) -> dict[str, Any]:
        """Returns the geometry of every stage."""
        names = ("stride", "padding", "dilation")
        described = [{n: list(getattr(s, n)) for n in names} | {"groups": s.groups} for s in self.stages]
        return {"stages": described}

    def tensors(self) -> dict[str, Tensor]:
        """Returns the weights by their place in the chain."""
        return {str(i): stage.weight for i, stage in enumerate(self.stages)}

    @classmethod
    def from_parts(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """Undoes `config` and `tensors`."""
        return cls(
            tuple(
                Stage(
                    weight=tensors[str(i)],
                    stride=tuple(stage["stride"]),
                    padding=tuple(stage["padding"]),
                    dilation=tuple(stage["dilation"]),
                    groups=stage["groups"],
                )
                for i, stage in enumerate(config["stages"])
            )
        )

    def __str__(self) -> str:
        widths = ", ".join(str(stage.weight.shape[0]) for stage in self.stages[:-1])
        return f"{len(self.stages)} convolutions with {widths} channels between them"


def _convolution(stage: Stage, padding_mode: str) -> nn.Module:
    outputs, inputs, *kernel = stage.weight.shape
    # On the meta device nothing is initialised, which would draw from the global random state.
    built = CONVOLUTIONS[len(kernel)](
        inputs * stage.groups,
        outputs,
        tuple(kernel),
        stride=stage.stride,
        padding=stage.padding,
        dilation=stage.dilation,
        groups=stage.groups,
        padding_mode=padding_mode if any(stage.padding) else "zeros",
        bias=False,
        device="meta",
    ).to_empty(device="cpu")
    with torch.no_grad():
        built.weight.copy_(stage.weight)
    return built  # type: ignore[no-any-return]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Skipped(Spec):
    """A part that is gone from inside a forward pass, which still calls it: nothing is computed, no weight is held.

    Args:
        output: `zeros` - shaped like the first tensor that goes in; `zero` - a single one in as many dimensions, which
            broadcasts; `input` - that tensor itself.
        entries: None: the output is the tensor; else a tuple of so many, the tensor first and None in the others.

    Example:
        >>> gone = Skipped(output="zeros", entries=2).build(nn.MultiheadAttention(4, 2))
        >>> gone(torch.ones(1, 2, 4), torch.ones(1, 3, 4), need_weights=False)[0].shape
        torch.Size([1, 2, 4])
    """

    kind: ClassVar[str] = "skipped"
    output: Literal["zeros", "zero", "input"] = "zeros"
    entries: int | None = None

    def __post_init__(self) -> None:
        if self.output not in ("zeros", "zero", "input"):
            raise invalid("Skipped.output", self.output, "'zeros', 'zero' or 'input'")
        if self.entries is not None and self.entries < 1:
            raise invalid("Skipped.entries", self.entries, "None or a positive number")

    def build(self, old: nn.Module) -> nn.Module:
        """Returns a module without parameters that takes any arguments."""
        return _Skip(self.output, self.entries)

    def config(self) -> dict[str, Any]:
        """Returns both settings."""
        return {"output": self.output, "entries": self.entries}

    def tensors(self) -> dict[str, Tensor]:
        """Returns nothing."""
        return {}

    @classmethod
    def from_parts(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """Undoes `config`."""
        return cls(output=config["output"], entries=config["entries"])

    def __str__(self) -> str:
        return "its input" if self.output == "input" else "zero"


class _Skip(nn.Module):
    """What `Skipped` builds."""

    def __init__(self, output: str, entries: int | None) -> None:
        super().__init__()
        self._output, self._entries = output, entries

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Takes the first tensor, and returns it or zeros."""
        first = next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        if self._output == "zeros":
            first = torch.zeros_like(first)
        elif self._output == "zero":
            first = first.new_zeros([1] * first.dim())
        return first if self._entries is None else (first, *[None] * (self._entries - 1))

    def extra_repr(self) -> str:
        """Says what comes out."""
        return self._output


@final
@dataclass(frozen=True, eq=False)
class Members(Spec):
    """A list of modules that some have left; those that stay are counted anew.

    Args:
        kept: positions in the old list, ascending.

    Example:
        >>> Members((0, 2)).build(nn.ModuleList([nn.ReLU(), nn.Tanh(), nn.GELU()]))
        ModuleList(
          (0): ReLU()
          (1): GELU(approximate='none')
        )
    """

    kind: ClassVar[str] = "members"
    kept: tuple[int, ...]

    def __post_init__(self) -> None:
        if list(self.kept) != sorted({place for place in self.kept if place >= 0}):
            raise invalid("Members.kept", self.kept, "positions of a list, ascending, each once")

    def build(self, old: nn.Module) -> nn.Module:
        """Returns a list of the old one's own modules."""
        if not isinstance(old, nn.ModuleList) or any(place >= len(old) for place in self.kept):
            raise invalid("Members.build", old, f"an nn.ModuleList that has the positions {list(self.kept)}")
        return nn.ModuleList(old[place] for place in self.kept)

    def config(self) -> dict[str, Any]:
        """Returns the positions."""
        return {"kept": list(self.kept)}

    def tensors(self) -> dict[str, Tensor]:
        """Returns nothing."""
        return {}

    @classmethod
    def from_parts(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """Undoes `config`."""
        return cls(tuple(config["kept"]))

    def __str__(self) -> str:
        return f"{len(self.kept)} of its modules"


@final
@dataclass(frozen=True, eq=False)
class OwnWeights(Spec):
    """A layer that computes its weight before each call, with the weight as a parameter of its own."""

    kind: ClassVar[str] = "own_weights"

    def build(self, old: nn.Module) -> nn.Module:
        """Returns a layer of the class that the old one had before its weight was computed."""
        return with_own_weights(old)

    def config(self) -> dict[str, Any]:
        """Returns nothing: there is nothing to set."""
        return {}

    def tensors(self) -> dict[str, Tensor]:
        """Returns nothing: the old layer has them."""
        return {}

    @classmethod
    def from_parts(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """Undoes `config` and `tensors`."""
        return cls()

    def __str__(self) -> str:
        return "itself, with a weight of its own"


ALL: tuple[type[Spec], ...] = (Identity, LowRank, Convolutions, Skipped, Members, OwnWeights)
