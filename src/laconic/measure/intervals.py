"""Means with honest 95 % intervals, gathered batch by batch."""

from __future__ import annotations

import math
import sys
from statistics import NormalDist

import torch
from pydantic.dataclasses import dataclass
from scipy.special import stdtrit
from torch import Tensor

from laconic.measure.record import RECORD

CONFIDENCE = 0.95
_TAIL = (1 + CONFIDENCE) / 2


@dataclass(frozen=True, kw_only=True, config=RECORD)
class Interval:
    """A 95 % confidence interval, `low <= high`."""

    low: float
    high: float


def wilson(successes: float, trials: float) -> Interval:
    """Returns the 95 % score interval of a proportion; counts may be fractional (an effective number of trials).

    Guarantees:
        Lies in [0, 1], holds `successes / trials`, and is never of zero width.

    Reference:
        Wilson, 1927, "Probable inference, the law of succession, and statistical inference".

    Example:
        >>> found = wilson(81, 263)
        >>> round(found.low, 4), round(found.high, 4)
        (0.2553, 0.3662)
    """
    z, p = NormalDist().inv_cdf(_TAIL), successes / trials
    centre = (p + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * math.sqrt(p * (1 - p) / trials + z**2 / (4 * trials**2))
    return Interval(low=max(0.0, min(p, centre - half)), high=min(1.0, max(p, centre + half)))


class Tally:
    """Sums up scores sample by sample, so that predictions of one sample are not taken for independent ones.

    Keeps two numbers a sample, whatever the size of the outputs.

    Example:
        >>> tally = Tally()
        >>> tally.add(torch.tensor([1.0, 0.0, 1.0, torch.nan]), samples=4)
        >>> tally.predictions, round(tally.mean, 3)
        (3, 0.667)
    """

    def __init__(self) -> None:
        self._sums: list[Tensor] = []
        self._counts: list[Tensor] = []
        self._binary = True

    def add(self, scores: Tensor, *, samples: int) -> None:
        """Adds the scores of one batch.

        Args:
            scores: one for each prediction, any shape, samples first; NaN where a position does not count.
            samples: how many samples they belong to. Where the number of scores is not a multiple of it, each score
                counts as a sample of its own.
        """
        rows = scores.detach().double().reshape(samples if scores.numel() % samples == 0 else scores.numel(), -1)
        kept = ~rows.isnan()
        rows = rows.masked_fill(~kept, 0.0)
        self._binary &= bool(((rows == 0) | (rows == 1)).all())
        self._sums.append(rows.sum(1))
        self._counts.append(kept.sum(1))

    @property
    def predictions(self) -> int:
        """Number of scores that count."""
        return int(self._column(self._counts).sum())

    @property
    def samples(self) -> int:
        """Number of samples with at least one score that counts."""
        return int((self._column(self._counts) > 0).sum())

    @property
    def mean(self) -> float:
        """Mean over predictions; NaN without any."""
        return float(self._column(self._sums).sum() / self._column(self._counts).sum())

    def interval(self) -> Interval | None:
        """Returns the 95 % interval of the mean; None where it cannot be known (fewer than two samples of free values).

        Scores of 0 and 1 get Wilson's interval, others Student's. The variance is that of a ratio of sums over
        samples, `sum_i (sum_i - mean * count_i)^2 / predictions^2`, so that the tokens of one text or the pixels of
        one image narrow the interval only as far as they vary independently.

        Guarantees:
            With one 0/1 score a sample it is exactly `wilson(successes, predictions)`.

        Reference:
            Korn and Graubard, 1998, "Confidence intervals for proportions with small expected number of positive
            counts estimated from survey data" (the effective number of trials).
        """
        if self.samples == 0:
            return None
        mean, n = self.mean, self.predictions
        variance = float((self._column(self._sums) - mean * self._column(self._counts)).square().sum()) / n**2
        if self._binary:
            spread = mean * (1 - mean)
            trials = min(n, spread / max(variance, sys.float_info.min)) if spread > 0 else self.samples
            return wilson(mean * trials, trials)
        if self.samples < 2:
            return None
        error = math.sqrt(variance * self.samples / (self.samples - 1))
        half = float(stdtrit(self.samples - 1, _TAIL)) * error
        return Interval(low=mean - half, high=mean + half)

    @staticmethod
    def _column(parts: list[Tensor]) -> Tensor:
        return torch.cat(parts).double() if parts else torch.zeros(0, dtype=torch.double)
