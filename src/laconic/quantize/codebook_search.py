"""Words chosen one vector of inputs after the other, errors passed on, and refitted to what was chosen."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional

from laconic.calibrate import Layer, LayerEvidence
from laconic.core.blocks import Blocks
from laconic.core.codings import Codebook
from laconic.core.nearest import nearest_words
from laconic.solve import (
    InputMetric,
    Rule,
    compensate,
    compensate_vectors,
    conjugate_gradients,
    halfway_inputs,
    metric_of,
    refine,
    refine_vectors,
)

HALF = torch.finfo(torch.float16)
FIT_STEPS = 3  # Each costs a product with the second moment.
ENOUGH = 2**17  # Weights to fit words to: some hundred numbers to each.


def compensated(
    plain: Codebook,
    weight: Tensor,
    evidence: LayerEvidence,
    *,
    damping: float,
    rounds: int,
    kept: Tensor | None = None,
) -> Codebook:
    """Returns the weight with words chosen one vector of inputs after the other, errors passed on, and words refitted.

    Outputs share words, so it matters how much each counts: as the mean square of its gradient says, or all alike where
    no gradients were gathered.

    Args:
        plain: the words to start from.
        weight: the original.
        evidence: with the whole second moment of the inputs.
        damping: added to its diagonal, as a share of its mean.
        rounds: of refitting words and choosing them anew.
        kept: bool, of the weight's shape; where it is false the weight is zero and stays so. None: all are kept.

    Returns:
        The better one of what was found and the plain one, at the layer's output. The plain one where vectors are no
        consecutive inputs of one output, as in a transposed convolution.
    """
    layer, weight = evidence.layer, weight.detach().cpu().float()
    places, share = _places(layer, plain.vectors), shares(layer, evidence)
    if places is None:
        return plain
    search = _Search.of(plain, weight, evidence, places, share, damping, kept)
    search.first()
    for _ in range(rounds):
        search.refit()
        search.again()
    search.refit()
    found = search.coding(plain)
    passed, size = halfway_inputs(evidence), weight.abs().max().clamp_min(HALF.tiny)
    held = [coding.decode() if kept is None else coding.decode() * kept for coding in (plain, found)]
    changes = [layer.matrix((values - weight) / size) for values in held]
    errors = [float(((passed(change) * change).sum(2) * share).sum()) for change in changes]
    return found if errors[1] < errors[0] else plain


@dataclass(eq=False)
class _Search:
    """Words and codes of a weight, on the way.

    Args:
        target: the weight, arranged and padded: `[groups, inputs, outputs]`.
        metric: of the layer; keeps vectors together.
        places: which vector is where, `[groups, vectors of an output, outputs]`, arranged.
        scale: of each output, `[groups, outputs]`.
        share: how much its error counts, likewise.
        table: likewise.
        books: `[stages, tables, words, length]`.
        codes: `[stages, groups, vectors of an output, outputs]`.
        there: 1 where words count, 0 where the weight is and stays zero, like `target`; None: all count.
        chosen: whether the codes say anything yet.
        projected: what the codes stand for, like `target`.
    """

    target: Tensor
    metric: InputMetric
    places: Tensor
    scale: Tensor
    share: Tensor
    table: Tensor
    books: Tensor
    codes: Tensor
    there: Tensor | None
    chosen: bool = False
    projected: Tensor = field(default_factory=lambda: torch.zeros(()))

    @classmethod
    def of(
        cls,
        plain: Codebook,
        weight: Tensor,
        evidence: LayerEvidence,
        places: Tensor,
        share: Tensor,
        damping: float,
        kept: Tensor | None,
    ) -> _Search:
        """Lays everything out in the metric's order."""
        layer, length = evidence.layer, plain.vectors.length
        metric = metric_of(evidence, damping=damping, width=length)
        missing = metric.order.shape[1] - layer.matrix_shape[2]
        order = metric.order[:, ::length] // length
        arranged = places.mT.gather(1, order[:, :, None].expand(-1, -1, places.shape[1]))
        channels = places[:, :, 0] // (plain.vectors.count // plain.vectors.channels)
        scale = torch.ones(channels.shape) if plain.scale is None else plain.scale.float()[channels]

        def arranged_by_inputs(values: Tensor) -> Tensor:
            return metric.arrange(functional.pad(layer.matrix(values), (0, missing)))

        return cls(
            target=arranged_by_inputs(weight),
            metric=metric,
            places=arranged,
            scale=scale,
            share=share,
            table=channels // plain.rows,
            books=plain.books.float(),
            codes=torch.zeros(plain.stages, *arranged.shape, dtype=torch.int64),
            there=None if kept is None else arranged_by_inputs(kept.float()),
        )

    @property
    def _length(self) -> int:
        return self.books.shape[3]

    def first(self) -> None:
        """Chooses all words, errors passed on."""
        if self._of_numbers:
            self.projected = compensate(self.target, self.metric, self._numbers())
        else:
            self.projected = compensate_vectors(self.target, self.metric, self._choose, width=self._length)
        self.chosen = True

    def again(self) -> None:
        """Chooses each word anew, all others as they are."""
        if self._of_numbers:
            self.projected = refine(self.target, self._built(), self.metric, self._numbers())
        else:
            self.projected = refine_vectors(self.target, self._built(), self.metric, self._choose, width=self._length)

    @property
    def _of_numbers(self) -> bool:
        return self._length == 1 and len(self.books) == 1

    def _numbers(self) -> Rule:
        """The rule for words of one element: the nearest number, found among sorted ones."""
        self.books = self.books.sort(2).values
        words = self.books[0, :, :, 0]
        middles = ((words[:, 1:].double() + words[:, :-1].double()) / 2).float()
        single = len(words) == 1
        own = middles[0] if single else middles[self.table]

        def nearest(wanted: Tensor, place: int) -> Tensor:
            values = wanted / self.scale
            found = torch.bucketize(values, own) if single else torch.searchsorted(own, values[:, :, None])[:, :, 0]
            self.codes[0, :, place] = found
            chosen = (words[0][found] if single else words[self.table, found]) * self.scale
            return chosen if self.there is None else chosen * self.there[:, place]

        return nearest

    def _choose(self, wanted: Tensor, place: int, pull: Tensor) -> Tensor:
        """The rule: words nearest in the metric's sense; notes their codes."""
        values, at = (wanted / self.scale[:, None]).mT, place // self._length
        held = self.codes[:, :, at] if self.chosen else None
        there = None if self.there is None else self.there[:, place : place + self._length]
        if there is None:
            codes = nearest_words(values @ pull, self.books @ pull, held=held)
        else:
            books = self.books.expand(-1, len(values), -1, -1)
            codes = nearest_words(values, books, there.mT, pull @ pull.mT, held)
        self.codes[:, :, at] = codes
        books = self.books.flatten(1, 2)
        first = self.table * self.books.shape[2]
        total = torch.stack([book[code + first] for book, code in zip(books, codes, strict=True)]).sum(0)
        chosen = (total * self.scale[:, :, None]).mT
        return chosen if there is None else chosen * there

    def refit(self) -> None:
        """Moves the words to where the error is least, codes as they are; many weights are sampled."""
        part, moment = self._sample(), self.metric.single
        curvature = moment.diagonal(dim1=1, dim2=2)[:, :, None] * part.scale[:, None]  # `_gathered` leaves out the rest
        self.books = conjugate_gradients(
            lambda books: part._gathered(moment @ part._built(books)),
            part._gathered(moment @ part.target),
            self.books,
            part._gathered(curvature.expand_as(part.target)),
            steps=FIT_STEPS,
        )

    def _sample(self) -> _Search:
        """Returns some of the outputs, evenly spread, where they are many and share one table."""
        step = 1 if self.books.shape[1] > 1 else max(1, self.target.numel() // ENOUGH)
        if step == 1:
            return self
        some = slice(None, None, step)
        return replace(
            self,
            target=self.target[:, :, some],
            places=self.places[:, :, some],
            scale=self.scale[:, some],
            share=self.share[:, some],
            table=self.table[:, some],
            codes=self.codes[..., some],
            there=None if self.there is None else self.there[:, :, some],
        )

    @property
    def _words(self) -> Tensor:
        """Which of a stage's words is where, tables counted through: `[stages, groups * vectors * outputs]`."""
        return (self.codes + self.table[None, :, None] * self.books.shape[2]).flatten(1)

    def _built(self, books: Tensor | None = None) -> Tensor:
        """What the codes stand for, like `target`."""
        flat = (self.books if books is None else books).flatten(1, 2)
        total = torch.stack([book[words] for book, words in zip(flat, self._words, strict=True)]).sum(0)
        groups, count, outputs = self.places.shape
        built = total.view(groups, count, outputs, -1).mT.reshape(groups, -1, outputs) * self.scale[:, None]
        return built if self.there is None else built * self.there

    def _gathered(self, arranged: Tensor) -> Tensor:
        """The transpose of `_built`, by outputs' shares: what belongs to each word, summed; like `books`."""
        groups, count, _ = self.places.shape
        arranged = arranged * (self.share[:, None] if self.there is None else self.share[:, None] * self.there)
        vectors = (arranged * self.scale[:, None]).view(groups, count, self._length, -1).mT.reshape(-1, self._length)
        total = torch.zeros_like(self.books).flatten(1, 2)
        for sums, words in zip(total, self._words, strict=True):
            sums.index_add_(0, words, vectors)
        return total.view_as(self.books)

    def coding(self, plain: Codebook) -> Codebook:
        """Returns words and codes in the order of the weight."""
        codes = torch.zeros(plain.stages, plain.vectors.count, dtype=torch.uint8)
        codes[:, self.places.flatten()] = self.codes.flatten(1).to(torch.uint8)
        books = stored(self.books)
        return Codebook.of(vectors=plain.vectors, rows=plain.rows, books=books, scale=plain.scale, codes=codes)


def _places(layer: Layer, vectors: Blocks) -> Tensor | None:
    """Returns which vector each run of inputs of an output is, int64 `[groups, outputs, runs]`; None if it is none."""
    length = vectors.length
    elements = torch.arange(vectors.count * length).view(vectors.count, length)
    matrix = layer.matrix(vectors.join(elements))
    runs = matrix.shape[2] // length
    whole = matrix[:, :, : runs * length].reshape(*matrix.shape[:2], runs, length)
    rest = matrix[:, :, runs * length :]
    first = torch.cat((whole[..., 0], rest[..., :1]), 2)
    straight = torch.equal(whole, whole[..., :1] + torch.arange(length)) and bool((first % length == 0).all())
    straight = straight and torch.equal(rest, rest[..., :1] + torch.arange(rest.shape[2]))
    return first // length if straight and first.numel() == vectors.count else None


def shares(layer: Layer, evidence: LayerEvidence) -> Tensor:
    """How much the error of each output counts, `[groups, outputs]`, about one on average."""
    return torch.ones(layer.matrix_shape[:2]) if evidence.gradient_sum is None else relative(evidence.G)


def relative(moment: Tensor) -> Tensor:
    """Returns a second moment's diagonal over its mean, and a little more, so that nothing counts for nothing."""
    energy = moment if moment.dim() == 2 else moment.diagonal(dim1=1, dim2=2)
    mean = energy.mean()
    return (energy / mean + 0.01).float() if mean > 0 else torch.ones(energy.shape)


def stored(values: Tensor) -> Tensor:
    """Returns numbers in half precision where that costs the largest of them no more than it costs any number."""
    largest = float(values.abs().max()) if values.numel() else 0.0
    smallest = float(values.abs().min()) if values.dim() == 1 and values.numel() else 1.0  # scales must not vanish
    fits = (largest == 0 or HALF.tiny <= largest <= HALF.max) and smallest >= HALF.tiny
    return values.half() if fits else values
