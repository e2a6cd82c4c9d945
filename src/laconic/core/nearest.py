"""The nearest words of codebooks."""

from __future__ import annotations

import torch
from torch import Tensor

LARGEST = 2**23  # Distances held at a time.
ROUNDS = 2  # In which every stage's word is chosen anew, all others as they are.


def nearest_words(
    values: Tensor,
    books: Tensor,
    there: Tensor | None = None,
    metric: Tensor | None = None,
    held: Tensor | None = None,
) -> Tensor:
    """Returns which words are nearest to vectors; of several stages, whose sums are.

    With one stage the words are the nearest ones. With several they are chosen greedily, one stage after the other, and
    then each anew while the others stay.

    Args:
        values: float32 `[tables, vectors, length]`.
        books: float32 `[stages, tables, words, length]`.
        there: 0 where words are taken for zero whatever they say, otherwise 1; like `values`. None: all 1.
        metric: beside `there`: an error `e` costs `e metric e^T`, symmetric `[tables, length, length]`. None: `|e|^2`.
        held: words of now, like what is returned; where these, each chosen anew, come nearer, they are taken.

    Returns:
        int64 `[stages, tables, vectors]`.

    Guarantees:
        What is returned is no farther away than what is held, up to rounding.

    Reference:
        Besag 1986 (iterated conditional modes); Martinez et al. 2016 (for sums of words).

    Example:
        >>> words = torch.tensor([[[[0.0], [1.0], [5.0]]]])
        >>> nearest_words(torch.tensor([[[0.4], [4.0]]]), words).tolist()
        [[[0, 2]]]
    """
    left, codes = values, []
    for book in books:
        codes.append(nearest_word(left, book, there, metric))
        left = left - _taken(book, codes[-1], there)
    greedy = torch.stack(codes)
    if len(books) == 1:
        return greedy
    found, cost = _chosen_anew(values, books, greedy, there, metric)
    if held is None:
        return found
    kept, before = _chosen_anew(values, books, held, there, metric)
    return torch.where(before <= cost, kept, found)


def _chosen_anew(
    values: Tensor, books: Tensor, codes: Tensor, there: Tensor | None, metric: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Returns words of which each was chosen anew while the others stayed, and how far off they are then."""
    codes = codes.clone()
    left = values - torch.stack([_taken(*one, there) for one in zip(books, codes, strict=True)]).sum(0)
    for _ in range(ROUNDS):
        for stage, book in enumerate(books):
            left = left + _taken(book, codes[stage], there)
            codes[stage] = nearest_word(left, book, there, metric)
            left = left - _taken(book, codes[stage], there)
    return codes, ((left if metric is None else left @ metric) * left).sum(2)


def nearest_word(values: Tensor, words: Tensor, there: Tensor | None = None, metric: Tensor | None = None) -> Tensor:
    """Returns the nearest word of one stage: `[tables, vectors, length]` and `[tables, words, length]` to int64."""
    if words.shape[2] == 1:
        return _nearest_number(values[:, :, 0].contiguous(), words[:, :, 0])
    if there is None:
        sizes, factor, turned = words.square().sum(2)[:, None, :], -2.0, words.mT
    else:
        sizes, factor = torch.zeros(()), 1.0
        values, turned = _by_what_is_there(values, words, there, metric)
    step = max(1, LARGEST // max(1, len(words) * words.shape[1]))
    parts = [torch.baddbmm(sizes, part, turned, alpha=factor).argmin(2) for part in torch.split(values, step, 1)]
    return torch.cat(parts, 1)


def _by_what_is_there(values: Tensor, words: Tensor, there: Tensor, metric: Tensor | None) -> tuple[Tensor, Tensor]:
    """Returns matrices whose product is what each word costs each vector, up to a constant of the vector.

    `(v - m w) M (v - m w)^T = -2 ((v M) m) w^T + (m m^T M) . (w w^T) + ...`, with `m` for what is there.
    """
    if metric is None:
        counts, squares = there, words.square()
    else:
        values = values @ metric
        counts = (there[..., :, None] * metric[:, None] * there[..., None, :]).flatten(2)
        squares = (words[..., :, None] * words[..., None, :]).flatten(2)
    return torch.cat((values * there, counts), 2), torch.cat((-2 * words, squares), 2).mT


def _nearest_number(values: Tensor, words: Tensor) -> Tensor:
    ordered, order = words.sort(dim=1)
    middles = ((ordered[:, 1:].double() + ordered[:, :-1].double()) / 2).float()
    return order.gather(1, torch.searchsorted(middles, values))


def _taken(words: Tensor, codes: Tensor, there: Tensor | None) -> Tensor:
    taken = words.gather(1, codes[:, :, None].expand(-1, -1, words.shape[2]))
    return taken if there is None else taken * there
