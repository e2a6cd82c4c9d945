"""Parts of a model that rest for a while."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatchcase

from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from laconic.core.errors import UsageError, invalid
from laconic.core.task import Batch
from laconic.train.objective import Moment, Objective

Span = float | tuple[float, float]


def freezing(objective: Objective, frozen: Mapping[str, Span]) -> Objective:
    """Returns an objective during which some parameters rest for a share of the run.

    A parameter that rests gets no gradient and does not decay; nothing is computed for it on the way back. Batch
    statistics still follow the data. Gradual unfreezing from the last layer to the first is
    `freezing(objective, {"embeddings*": 0.5, "layer.0.*": 0.4, "layer.1.*": 0.2})`.

    Args:
        objective: what is minimised.
        frozen: pattern (`*`, `?`) of parameter names -> the share of the run until which they rest, in (0, 1]; or from
            when and until when. Several patterns may name one parameter: it rests if any of them says so.

    Raises:
        UsageError: a span outside its domain; when it is trained: a pattern that names no parameter, or several
            processes, where all parameters must move.

    Reference:
        Howard, Ruder, 2018, arXiv:1801.06146, section 3.3 (gradual unfreezing).
    """
    spans = {pattern: _span(pattern, given) for pattern, given in frozen.items()}
    if not spans:
        raise invalid("freezing.frozen", dict(frozen), "at least one pattern of parameter names")
    checked: set[int] = set()

    def terms(model: nn.Module, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
        if id(model) not in checked:
            _check(model, spans)
            checked.add(id(model))
        with _resting(model, [p for p, (start, end) in spans.items() if start <= moment.progress < end]):
            return objective.terms(model, batch, moment)

    said = ", ".join(f"{pattern} resting from {start} to {end}" for pattern, (start, end) in spans.items())
    return replace(objective, terms=terms, name=f"{objective.name} with {said}")


def _span(pattern: str, given: Span) -> tuple[float, float]:
    start, end = (0.0, given) if isinstance(given, int | float) else given
    if not 0 <= start < end <= 1:
        raise invalid(
            f"freezing.frozen[{pattern!r}]", given, "a share of the run in (0, 1], or from when and until when"
        )
    return start, end


def _check(model: nn.Module, spans: Mapping[str, tuple[float, float]]) -> None:
    sharing = distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
    if sharing or isinstance(model, DistributedDataParallel):
        raise UsageError(
            "freezing: got several processes; expected one, since all of them wait for every gradient. Set "
            "requires_grad_(False) before train for what rests all the time."
        )
    names = [name for name, _ in model.named_parameters()]
    for pattern in spans:
        if not any(fnmatchcase(name, pattern) for name in names):
            shown = ", ".join(names[:5])
            raise invalid("freezing.frozen", pattern, f"a pattern of parameter names such as {shown}")


@contextmanager
def _resting(model: nn.Module, patterns: list[str]) -> Iterator[None]:
    """Leaves parameters out of what is computed meanwhile; what was computed stays without them."""
    resting = [
        parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and any(fnmatchcase(name, pattern) for pattern in patterns)
    ]
    try:
        for parameter in resting:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in resting:
            parameter.requires_grad_(True)
