"""Attention maps: the tokens of a transformer are to attend to each other as the teacher's do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from torch import Tensor

from laconic.core.errors import invalid
from laconic.distill.feature import FeatureLoss, misfit
from laconic.distill.pair import Pair


@final
@dataclass(frozen=True, kw_only=True)
class AttentionMaps(FeatureLoss):
    """Squared error or divergence of attention probabilities `[samples, heads, queries, keys]`.

    `form="mse"`: `mean((student - teacher)^2)`. `form="ce"`: `mean_queries KL(teacher || student)`, which is the
    cross-entropy less a constant and has its gradient. Positions that the mask leaves out do not count, as queries or
    as keys.

    Args:
        form: `"mse"` or `"ce"`.
        heads: `"each"` compares head with head and needs as many; `"mean"` compares the means over the heads.

    Guarantees:
        The distance of equal maps is 0, and for `"mse"` so is its gradient; for `"ce"` the gradient of the scores
        behind the maps is. Queries that the mask leaves out get no gradient.

    Reference:
        Jiao, Yin, Shang, Jiang, Chen, Li, Wang, Liu, 2020, arXiv:1909.10351 (TinyBERT), equation 7; the cross-entropy
        as in Yang, Cui, Chen, Che, Liu, Wang, Hu, 2020, arXiv:2002.12620 (TextBrewer).

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[[[0.5, 0.5]]]]), torch.tensor([[[[1.0, 0.0]]]])
        >>> AttentionMaps().distance(Pair(student=student, teacher=teacher))
        tensor(0.2500)
    """

    form: Literal["mse", "ce"] = "mse"
    heads: Literal["each", "mean"] = "each"

    def __post_init__(self) -> None:
        if self.form not in ("mse", "ce"):
            raise invalid("AttentionMaps.form", self.form, "'mse' or 'ce'")
        if self.heads not in ("each", "mean"):
            raise invalid("AttentionMaps.heads", self.heads, "'each' or 'mean'")

    def distance(self, pair: Pair) -> Tensor:
        """Returns the distance of the maps.

        Raises:
            UsageError: these are no maps of the same queries and keys, or the heads differ in number.
        """
        student, teacher = self._maps(pair)
        # `[samples, queries, heads]`, as the mask wants it.
        errors = self._compare(student, teacher, pair.mask).transpose(1, 2)
        return pair.mean(errors)

    def _maps(self, pair: Pair) -> tuple[Tensor, Tensor]:
        maps = [pair.student, pair.teacher]
        if any(x.dim() != 4 for x in maps):
            raise misfit(pair, "AttentionMaps", "[samples, heads, queries, keys]", "")
        if self.heads == "mean":
            maps = [x.mean(1, keepdim=True) for x in maps]
        if maps[0].shape != maps[1].shape:
            raise misfit(pair, "AttentionMaps", "the same shape", "For other numbers of heads write heads='mean'.")
        return maps[0], maps[1]

    def _compare(self, student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
        """Returns one value for each query of each head."""
        if self.form == "ce":
            tiny = 1e-8  # Far below any probability that says something; models give 0 to keys that do not count.
            return (teacher * ((teacher + tiny).log() - (student + tiny).log())).sum(-1)
        errors = (student - teacher).square()
        if mask is None:
            return errors.mean(-1)
        keys = mask[:, None, None, :]
        return errors.where(keys, 0).sum(-1) / keys.sum(-1).clamp(min=1)
