"""Rows of what a model is worth: its score, its distance from the original, its artifact's faithfulness."""

from __future__ import annotations

from collections.abc import Callable

from laconic.measure import Agreement, Divergence, Figures, Interval, Score
from laconic.report import wording
from laconic.report.row import UNKNOWN, Cell, Row, Verdict, missing


def score(original: Figures, compressed: Figures) -> Row:
    """Returns the row of the task's metric, with its interval."""
    before, after = original.score, compressed.score
    known = after or before
    comparison, verdict = _score_difference(before, after)
    return Row(
        figure=wording.metric_name(known.metric) if known else "Score",
        meaning=_score_meaning(known),
        original=_score_cell(before, original),
        compressed=_score_cell(after, compressed),
        ratio=comparison,
        verdict=verdict,
    )


def _score_meaning(known: Score | None) -> str:
    if known is None:
        return "How well the model does its task on the evaluation data."
    better = "higher" if known.higher_is_better else "lower"
    return (
        f"How well the model does its task on the evaluation data ({known.predictions:,} predictions); {better} is "
        "better. With the 95 % confidence interval."
    )


def _score_cell(found: Score | None, figures: Figures) -> Cell:
    if found is None:
        return missing(figures, "score")
    value = wording.score(found.value, found.metric)
    if found.interval is None:
        return Cell(value=value, detail="interval unknown")
    low, high = (
        wording.score(end, found.metric).removesuffix(" %") for end in (found.interval.low, found.interval.high)
    )
    return Cell(value=value, detail=f"{low} to {high}")


def _score_difference(before: Score | None, after: Score | None) -> tuple[Cell, Verdict]:
    if before is None or after is None:
        return UNKNOWN, "none"
    difference = after.value - before.value
    value = wording.score_change(difference, after.metric)
    if difference == 0:
        return Cell(value=value, detail="the same"), "same"
    verdict: Verdict = "better" if (difference > 0) == after.higher_is_better else "worse"
    if before.interval is not None and before.interval.low <= after.value <= before.interval.high:
        return Cell(value=value, detail=f"{verdict}, within the original's interval"), verdict
    return Cell(value=value, detail=verdict), verdict


_REFERENCE = "the reference"


def divergence(compressed: Figures) -> tuple[Row, ...]:
    """Returns the rows of how far the answers moved: KL and top-1 agreement, or for regression a relative error."""
    found = compressed.divergence
    if found is not None and found.kl_nats is None:
        return (_relative_error(found),)
    return (_kl(found, compressed), _top1(found, compressed))


def _kl(found: Divergence | None, compressed: Figures) -> Row:
    return Row(
        figure="KL to the original",
        meaning="How far the predicted probabilities moved from the original's: mean Kullback-Leibler divergence.",
        original=Cell(value="0 nats", detail=_REFERENCE),
        compressed=_kl_cell(found, compressed),
        ratio=Cell(value="0 is identical"),
        verdict="none",
    )


def _kl_cell(found: Divergence | None, compressed: Figures) -> Cell:
    if found is None or found.kl_nats is None:
        return missing(compressed, "divergence")
    value = f"{wording.significant(found.kl_nats)} nats"
    return Cell(value=value, detail=_interval(found.kl_interval, wording.significant))


def _top1(found: Divergence | None, compressed: Figures) -> Row:
    return Row(
        figure="Same answer as the original",
        meaning="Share of the evaluation data on which both models give the same answer, right or wrong.",
        original=Cell(value="100.00 %", detail=_REFERENCE),
        compressed=_top1_cell(found, compressed),
        ratio=Cell(value="100 % is identical"),
        verdict="none",
    )


def _top1_cell(found: Divergence | None, compressed: Figures) -> Cell:
    if found is None or found.top1_agreement is None:
        return missing(compressed, "divergence")
    detail = _interval(found.top1_interval, lambda share: f"{100 * share:.2f}")
    return Cell(value=f"{100 * found.top1_agreement:.2f} %", detail=detail)


def _relative_error(found: Divergence) -> Row:
    error = found.relative_error
    return Row(
        figure="Distance from the original",
        meaning="Typical difference of the two models' outputs, as a share of how much the original's outputs vary.",
        original=Cell(value="0 %", detail=_REFERENCE),
        compressed=Cell(value="not defined", detail="the original's outputs are all equal")
        if error is None
        else Cell(value=f"{wording.significant(100 * error)} %", detail=f"over {found.predictions:,} outputs"),
        ratio=Cell(value="0 % is identical"),
        verdict="none",
    )


def _interval(found: Interval | None, say: Callable[[float], str]) -> str:
    return f"{say(found.low)} to {say(found.high)}" if found else "interval unknown"


def agreement(original: Figures, compressed: Figures) -> Row:
    """Returns the row of how well each exported file reproduces its PyTorch model."""
    return Row(
        figure="Artifact against PyTorch",
        meaning="Whether the exported file computes what the PyTorch model computes; only rounding may differ.",
        original=_agreement_cell(original.agreement, original),
        compressed=_agreement_cell(compressed.agreement, compressed),
        ratio=Cell(value="0 off is exact"),
        verdict="none",
    )


def _agreement_cell(found: Agreement | None, figures: Figures) -> Cell:
    if found is None:
        return missing(figures, "agreement")
    relative = "" if found.relative_error is None else f", relative {wording.significant(found.relative_error, 2)}"
    detail = f"at most {wording.significant(found.max_abs_error, 2)} off{relative}"
    if found.top1 is None:
        return Cell(value=f"{found.outputs:,} outputs", detail=detail)
    return Cell(value=f"{100 * found.top1:.2f} % same", detail=detail)
