"""Everything that was read off one artifact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields
from typing import Any

from pydantic.dataclasses import dataclass

from laconic.core.errors import invalid
from laconic.measure.divergence import Agreement, Divergence
from laconic.measure.latency import Latency
from laconic.measure.quality import Score
from laconic.measure.record import RECORD, from_json, to_json


@dataclass(frozen=True, kw_only=True, config=RECORD)
class Figures:
    """What was measured of one artifact. A figure that is None was not measured; `missing` says why.

    Args:
        name: what reports call it, such as `"original"`.
        runtime: what ran it, such as `"onnxruntime 1.31"`.
        size_bytes: of its file or folder.
        parameters: number of parameters, tied ones once.
        macs: multiply-accumulates for one sample.
        latency: time of one call, by number of threads.
        peak_memory_bytes: peak resident set of a fresh process that loads and runs it.
        score: on the evaluation data.
        divergence: of its answers from the original's.
        agreement: of its outputs with those of the PyTorch model that it was made from.
        missing: reason, by name of the field.

    Guarantees:
        `Figures.from_json(figures.to_json())` equals `figures`.

    Example:
        >>> figures = Figures(name="original", size_bytes=10, missing={"macs": "the model cannot be captured"})
        >>> figures.why("macs")
        'the model cannot be captured'
    """

    name: str
    runtime: str | None = None
    size_bytes: int | None = None
    parameters: int | None = None
    macs: int | None = None
    latency: dict[int, Latency] = field(default_factory=dict)
    peak_memory_bytes: int | None = None
    score: Score | None = None
    divergence: Divergence | None = None
    agreement: Agreement | None = None
    missing: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = {f.name for f in fields(self)}
        for name in self.missing:
            if name not in names or getattr(self, name) not in (None, {}):
                raise invalid("Figures.missing", name, "the name of a figure that was not measured")

    def why(self, figure: str) -> str:
        """Returns why a figure is not there."""
        return self.missing.get(figure, "not measured")

    def to_json(self) -> dict[str, Any]:
        """Returns JSON values."""
        return to_json(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Figures:
        """Undoes `to_json`.

        Raises:
            ArtifactError: a figure has an unknown name or no sensible value; the message names the first such.
        """
        return from_json(Figures, content)
