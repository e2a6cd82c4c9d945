"""A plan in outline: what is done, in which order, how hard."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

Cut = Literal["channels", "blocks", "student"]
"""What makes a network do fewer multiply-accumulates: channels, neurons and heads go wherever they matter least; whole
residual branches and layers go; or layers and all widths, by one fraction each, as in `laconic.student`."""
SHORT = {"channels": "macs", "blocks": "blocks", "student": "student"}


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """The network gets smaller first, then weights get fewer bits, then activations are rounded.

    Args:
        keep: fraction of the multiply-accumulates that stays; 1: all.
        cut: what goes where not all stay.
        size: fraction of the original file that may remain, shared out among all techniques that the target can store;
            None: 8 bits for every weight.
        activations: whether activations are rounded to 8 bits too, so that integer kernels run.
    """

    keep: float = 1.0
    cut: Cut = "channels"
    size: float | None = None
    activations: bool = False

    @property
    def name(self) -> str:
        """Short name, fit for a folder."""
        cut = "" if self.keep == 1 else f"{SHORT[self.cut]}{_percent(self.keep)}-"
        weights = "w8" if self.size is None else f"size{_percent(self.size)}"
        return f"{cut}{weights}{'a8' if self.activations else ''}"

    def __str__(self) -> str:
        what = "a student with" if self.cut == "student" else f"{self.cut} to"
        cut = "" if self.keep == 1 else f"{what} {self.keep:.3g} of the MACs, "
        weights = "8-bit weights" if self.size is None else f"weights to {self.size:.3g} of the file"
        return f"{cut}{weights}, {'8-bit' if self.activations else 'float'} activations"

    def config(self) -> dict[str, Any]:
        """Returns JSON values."""
        return asdict(self)

    @classmethod
    def of(cls, config: dict[str, Any]) -> Self:
        """Undoes `config`."""
        return cls(**config)


def _percent(fraction: float) -> str:
    """Returns a fraction in percent, fit for the name of a folder."""
    return f"{100 * fraction:.3g}".replace(".", "_")
