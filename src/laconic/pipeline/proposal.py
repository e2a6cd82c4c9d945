"""A plan in outline: what is done, in which order, how hard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """Channels or blocks go first, then weights get fewer bits, then activations are rounded.

    Args:
        keep: fraction of the multiply-accumulates that stays when whole channels, neurons and heads are cut; 1: all.
        blocks: whole residual branches and layers go instead of channels.
        size: fraction of the original file that may remain, shared out among all techniques that the target can store;
            None: 8 bits for every weight.
        activations: whether activations are rounded to 8 bits too, so that integer kernels run.
    """

    keep: float = 1.0
    blocks: bool = False
    size: float | None = None
    activations: bool = False

    @property
    def cut(self) -> str:
        """What goes first."""
        return "blocks" if self.blocks else "channels"

    @property
    def name(self) -> str:
        """Short name, fit for a folder."""
        cut = "" if self.keep == 1 else f"{'blocks' if self.blocks else 'macs'}{_percent(self.keep)}-"
        weights = "w8" if self.size is None else f"size{_percent(self.size)}"
        return f"{cut}{weights}{'a8' if self.activations else ''}"

    def __str__(self) -> str:
        cut = "" if self.keep == 1 else f"{self.cut} to {self.keep:.3g} of the MACs, "
        weights = "8-bit weights" if self.size is None else f"weights to {self.size:.3g} of the file"
        return f"{cut}{weights}, {'8-bit' if self.activations else 'float'} activations"

    def config(self) -> dict[str, Any]:
        """Returns JSON values."""
        return {"keep": self.keep, "blocks": self.blocks, "size": self.size, "activations": self.activations}

    @classmethod
    def of(cls, config: dict[str, Any]) -> Self:
        """Undoes `config`."""
        return cls(**config)


def _percent(fraction: float) -> str:
    """Returns a fraction in percent, fit for the name of a folder."""
    return f"{100 * fraction:.3g}".replace(".", "_")
