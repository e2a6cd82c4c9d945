"""What scalar and vector codebooks share: words are learnt, given to vectors under compensation, and refitted."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import final

import torch
from torch import Tensor
from torch.nn import functional

from laconic.calibrate import Layer, LayerEvidence
from laconic.core.bits import packed_size
from laconic.core.blocks import Blocks
from laconic.core.codings import Codebook, Sparse
from laconic.core.errors import ModelError, invalid
from laconic.core.nearest import nearest_words
from laconic.quantize.clusters import number_words, vector_words
from laconic.solve import InputMetric, compensate_vectors, conjugate_gradients, in_vectors, refine_vectors

HALF = torch.finfo(torch.float16)
MOST_NUMBERS = 2**18  # Of which words are learnt.
VECTORS_A_WORD = 64
FIT_STEPS = 3  # Each costs a product with the second moment.


@final
@dataclass(frozen=True, kw_only=True)
class Words:
    """How a weight is cut into vectors, and what words there are for them.

    Args:
        bits: of a code; there are `2**bits` words.
        length: elements of a vector.
        stages: words that are summed.
        rows: channels that share a table; None: all.
        scaled: divide each channel by its root mean square first.
    """

    bits: int
    length: int = 1
    stages: int = 1
    rows: int | None = None
    scaled: bool = True

    def vectors(self, layer: Layer) -> Blocks:
        """Returns the vectors of a layer's weight: consecutive inputs of an output."""
        return Blocks(shape=layer.shape, axis=layer.output_axis, group_size=self.length)

    def tables(self, layer: Layer) -> int:
        """Returns how many tables a layer's weight has."""
        return 1 if self.rows is None else math.ceil(layer.shape[layer.output_axis] / self.rows)

    def check(self, layer: Layer, where: str) -> None:
        """Refuses words that would take more bytes than the weight itself.

        Raises:
            UsageError: they do; `where` says who asked.
        """
        vectors = self.vectors(layer)
        books = 2 * self.stages * self.tables(layer) * 2**self.bits * self.length
        total = books + packed_size(self.stages * vectors.count, self.bits) + 2 * self.scaled * vectors.channels
        whole = 4 * math.prod(layer.shape)
        if total >= whole > 0:
            raise invalid(
                f"{where}({layer.parameter}).bits",
                self.bits,
                f"a codebook smaller than the layer: {books:,} bytes of words, {total:,} with codes, for {whole:,}",
                "Use fewer bits or shorter vectors for this layer, or another technique.",
            )


def coded(
    weight: Tensor,
    layer: Layer,
    evidence: LayerEvidence | None,
    words: Words,
    *,
    damping: float,
    rounds: int | None,
    keep_zeros: bool,
) -> Codebook | Sparse:
    """Returns the weight as words, compensated as far as the evidence allows.

    Args:
        weight: finite.
        layer: its layer.
        evidence: what passed through it.
        words: what there are.
        damping: added to the diagonal of `A`, as a share of its mean.
        rounds: of refitting words and choosing them anew; None: nearest words.
        keep_zeros: whether zeros stay, inside a mask.
    """
    kept = weight.detach().cpu() != 0 if keep_zeros else None
    found = learnt(weight, layer, evidence, words, 0, kept)
    if rounds is not None and evidence is not None and evidence.A.dim() == 3 and bool(evidence.A.any()):
        found = compensated(found, weight, evidence, damping=damping, rounds=rounds, kept=kept)
    return found if kept is None else Sparse.around(found, kept)


def learnt(
    weight: Tensor, layer: Layer, evidence: LayerEvidence | None, words: Words, seed: int, kept: Tensor | None = None
) -> Codebook:
    """Returns the weight with words by k-means, each vector at the nearest one.

    Elements weigh as the diagonals of the second moments of inputs and, where known, of output gradients say, times the
    square of their channel's scale. What `kept`, bool of the weight's shape, leaves out counts for nothing.

    Raises:
        ModelError: the weight holds NaN or infinity.
    """
    if not weight.isfinite().all():
        raise ModelError(f"{layer.parameter}: holds NaN or infinity; expected finite weights. Check the checkpoint.")
    weight, vectors = weight.detach().cpu().float(), words.vectors(layer)
    kept = torch.ones(layer.shape, dtype=torch.bool) if kept is None else kept
    scale = _stored(_sizes(weight, vectors, kept)) if words.scaled else None
    spread = _by_vector(vectors, torch.ones(vectors.channels) if scale is None else scale.float())
    values = vectors.split(weight) / spread
    mass = vectors.split(_mass(layer, evidence) * kept) * (spread / spread.max()).square()
    rows = words.rows or max(vectors.channels, 1)
    books = _books(values, mass, words, rows * (len(values) // max(vectors.channels, 1)), seed)
    blank = torch.zeros(words.stages, vectors.count, dtype=torch.uint8)
    return Codebook.of(vectors=vectors, rows=rows, books=_stored(books), scale=scale, codes=blank).encode_within(
        weight, kept
    )


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
    layer, moment, weight = evidence.layer, evidence.A, weight.detach().cpu().float()
    places, share = _places(layer, plain.vectors), _shares(layer, evidence)
    if places is None:
        return plain
    search = _Search.of(plain, weight, evidence, places, share, damping, kept)
    search.first()
    for _ in range(rounds):
        search.refit()
        search.again()
    search.refit()
    found = search.coding(plain)
    moment, size = moment.float(), weight.abs().max().clamp_min(HALF.tiny)
    held = [coding.decode() if kept is None else coding.decode() * kept for coding in (plain, found)]
    changes = [layer.matrix((values - weight) / size) for values in held]
    errors = [float(((change @ moment * change).sum(2) * share).sum()) for change in changes]
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
        moment, layer = evidence.A, evidence.layer
        length = plain.vectors.length
        missing = -moment.shape[1] % length
        padded = functional.pad(moment, (0, missing, 0, missing))
        metric = InputMetric.of(padded, damping=damping, order=in_vectors(padded, length))
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
        self.projected = compensate_vectors(self.target, self.metric, self._choose, width=self._length)

    def again(self) -> None:
        """Chooses each word anew, all others as they are."""
        self.projected = refine_vectors(self.target, self._built(), self.metric, self._choose, width=self._length)

    def _choose(self, wanted: Tensor, place: int, pull: Tensor) -> Tensor:
        """The rule: words nearest in the metric's sense; notes their codes."""
        values = (wanted / self.scale[:, None]).mT
        there = None if self.there is None else self.there[:, place : place + self._length]
        if self._length == 1 and len(self.books) == 1:
            codes = self._nearest_numbers(values)
        elif there is None:
            codes = nearest_words(values @ pull, self.books @ pull)
        else:
            books = self.books.expand(-1, len(values), -1, -1)
            codes = nearest_words(values, books, there.mT, pull @ pull.mT)
        at = self.codes[:, :, place // self._length] = codes
        books = self.books.flatten(1, 2)
        first = self.table * self.books.shape[2]
        total = torch.stack([book[code + first] for book, code in zip(books, at, strict=True)]).sum(0)
        chosen = (total * self.scale[:, :, None]).mT
        return chosen if there is None else chosen * there

    def _nearest_numbers(self, values: Tensor) -> Tensor:
        if self.books.shape[1] == 1:
            return nearest_words(values.reshape(1, -1, 1), self.books).view(1, *values.shape[:2])
        own = self.books[:, self.table.flatten()]
        return nearest_words(values.reshape(-1, 1, 1), own).view(1, *values.shape[:2])

    def refit(self) -> None:
        """Moves the words to where the error is least, codes as they are."""
        moment = self.metric.single
        curvature = moment.diagonal(dim1=1, dim2=2)[:, :, None] * self.scale[:, None]  # `_gathered` leaves out the rest
        self.books = conjugate_gradients(
            lambda books: self._gathered(moment @ self._built(books)),
            self._gathered(self._pulled),
            self.books,
            self._gathered(curvature.expand_as(self.target)),
            steps=FIT_STEPS,
        )

    @cached_property
    def _pulled(self) -> Tensor:
        return self.metric.single @ self.target

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
        books = _stored(self.books)
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


def _books(values: Tensor, mass: Tensor, words: Words, together: int, seed: int) -> Tensor:
    """Learns the tables, each from the vectors of its rows: `[stages, tables, words, length]`."""
    generator, tables, together = torch.Generator().manual_seed(seed), [], max(together, 1)
    for part, share in zip(torch.split(values, together), torch.split(mass, together), strict=True):
        stages, most = [], MOST_NUMBERS if words.length == 1 else VECTORS_A_WORD * 2**words.bits
        counted = share.any(1)
        part, share = (part[counted], share[counted]) if counted.any() else (part, share + 1)
        step = math.ceil(len(part) / most)
        left, share = part[::step], share[::step]
        for _ in range(words.stages):
            stages.append(_learnt_words(left, share / share.mean(), 2**words.bits, generator))
            left = left - stages[-1][nearest_words(left[None], stages[-1][None, None])[0, 0]]
        tables.append(torch.stack(stages))
    return torch.stack(tables, 1)


def _learnt_words(values: Tensor, mass: Tensor, count: int, generator: torch.Generator) -> Tensor:
    if not len(values):
        return torch.zeros(count, values.shape[1])
    if values.shape[1] == 1:
        return number_words(values[:, 0], mass[:, 0], count)[:, None]
    return vector_words(values, mass, count, generator)


def _mass(layer: Layer, evidence: LayerEvidence | None) -> Tensor:
    """How much each element of a weight counts: the energy of its input, and its output's share."""
    if evidence is None:
        return torch.ones(layer.shape)
    return layer.weight(_shares(layer, evidence)[:, :, None] * _relative(evidence.A)[:, None, :])


def _shares(layer: Layer, evidence: LayerEvidence) -> Tensor:
    """How much the error of each output counts, `[groups, outputs]`, about one on average."""
    return torch.ones(layer.matrix_shape[:2]) if evidence.gradient_sum is None else _relative(evidence.G)


def _relative(moment: Tensor) -> Tensor:
    """Returns a second moment's diagonal over its mean, and a little more, so that nothing counts for nothing."""
    energy = moment if moment.dim() == 2 else moment.diagonal(dim1=1, dim2=2)
    mean = energy.mean()
    return (energy / mean + 0.01).float() if mean > 0 else torch.ones(energy.shape)


def _sizes(weight: Tensor, vectors: Blocks, kept: Tensor) -> Tensor:
    """The root mean square of what is kept of each channel; one where that is (next to) nothing."""
    channels = Blocks(shape=vectors.shape, axis=vectors.axis)
    counts = channels.split(kept.double()).sum(1).clamp_min(1)
    sizes = (channels.split(weight).double().square().sum(1) / counts).sqrt().float()
    return torch.where(sizes > 1e-25, sizes, torch.ones_like(sizes))


def _by_vector(vectors: Blocks, scale: Tensor) -> Tensor:
    return scale.repeat_interleave(vectors.count // max(vectors.channels, 1))[:, None]


def _stored(values: Tensor) -> Tensor:
    """Returns numbers in half precision where that costs the largest of them no more than it costs any number."""
    largest = float(values.abs().max()) if values.numel() else 0.0
    smallest = float(values.abs().min()) if values.dim() == 1 and values.numel() else 1.0  # scales must not vanish
    fits = (largest == 0 or HALF.tiny <= largest <= HALF.max) and smallest >= HALF.tiny
    return values.half() if fits else values
