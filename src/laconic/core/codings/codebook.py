"""Learned words: every vector of a weight is a word of a small table, or a sum of words of several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, final

import torch
from torch import Tensor
from torch.nn import functional

from laconic.core.bits import pack, packed_size, unpack
from laconic.core.blocks import Blocks
from laconic.core.coding import Codes, Coding
from laconic.core.errors import invalid
from laconic.core.nearest import nearest_words

FLOATS = (torch.float32, torch.float16)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Codebook(Coding):
    """A tensor whose vectors of consecutive elements are words of learned tables.

    `vector = scale[channel] * (books[0][code_0] + books[1][code_1] + ...)`. Vectors of one element make a scalar
    codebook, longer ones product quantisation, several stages residual quantisation.

    Args:
        vectors: blocks along an axis; `group_size` is the length of a vector, the last one of a channel is padded.
        rows: consecutive channels that share their tables.
        books: `[stages, tables, words, length]`, float32 or float16; 2 to 256 words; `tables` is the number of groups
            of `rows` channels.
        scale: `[channels]`, float32 or float16, not zero; None: one.
        codes: words of every stage and vector, `[stages, vectors]` in row-major order, packed.

    Guarantees:
        With one stage each vector is the word nearest to it; a vector that the codes already give stays exactly.

    Reference:
        Han, Mao and Dally 2016, arXiv:1510.00149 (scalars); Stock et al. 2020, arXiv:1907.05686 (vectors);
        Egiazarian et al. 2024, arXiv:2401.06118 (sums).
    """

    kind: ClassVar[str] = "codebook"
    vectors: Blocks
    rows: int
    books: Tensor
    scale: Tensor | None
    codes: Tensor

    def __post_init__(self) -> None:
        if self.vectors.axis is None or self.vectors.group_size is None:
            raise invalid("Codebook.vectors", str(self.vectors), "blocks with an axis and a length")
        if self.books.dim() != 4 or not 2 <= self.books.shape[2] <= 256:
            raise invalid("Codebook.books", list(self.books.shape), "[stages, tables, 2 to 256 words, length]")
        if self.rows < 1:
            raise invalid("Codebook.rows", self.rows, "a positive number of channels")
        tables, channels = -(-self.vectors.channels // self.rows), self.vectors.channels
        expected = {
            "books": (self.stages, tables, self.words, self.vectors.length),
            "codes": (packed_size(self.stages * self.vectors.count, self.bits),),
        }
        if self.scale is not None:
            expected["scale"] = (channels,)
            if self.scale.dtype not in FLOATS or not bool((self.scale.isfinite() & (self.scale != 0)).all()):
                raise invalid("Codebook.scale", str(self.scale.dtype), "finite float32 or float16 numbers, not zero")
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise invalid(f"Codebook.{name}", list(getattr(self, name).shape), f"the shape {list(shape)}")
        if self.books.dtype not in FLOATS or not bool(self.books.isfinite().all()):
            raise invalid("Codebook.books", str(self.books.dtype), "finite float32 or float16 numbers")

    @classmethod
    def of(cls, *, vectors: Blocks, rows: int, books: Tensor, scale: Tensor | None, codes: Tensor) -> Self:
        """Packs codes.

        Args:
            vectors: as above.
            rows: as above.
            books: as above.
            scale: as above.
            codes: whole numbers below `words`, `[stages, vectors.count]`.
        """
        packed = pack(codes.to("cpu", torch.uint8), _bits(books.shape[2]))
        return cls(vectors=vectors, rows=rows, books=books, scale=scale, codes=packed)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the decoded tensor."""
        return self.vectors.shape

    @property
    def stages(self) -> int:
        """Words that are summed for each vector."""
        return self.books.shape[0]

    @property
    def words(self) -> int:
        """Words of a table."""
        return self.books.shape[2]

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return _bits(self.words)

    @property
    def coded(self) -> Codes:
        """The codes; of vectors, unless each element has one of its own in row-major order."""
        single = self.stages == 1 and self.vectors.length == 1 and self.vectors.axis == 0
        return Codes("codes", self.bits) if single else Codes("codes", self.bits, self.vectors, self.stages)

    def integers(self) -> Tensor:
        """Returns the codes unpacked, uint8 `[stages, vectors]`."""
        count = self.stages * self.vectors.count
        return unpack(self.codes, self.bits, count).view(self.stages, self.vectors.count)

    def encode(self, weight: Tensor) -> Self:
        """Chooses words for another weight; with several stages one after the other, then each once more."""
        return self.encode_within(weight, torch.ones(self.shape, dtype=torch.bool))

    def encode_within(self, weight: Tensor, mask: Tensor) -> Self:
        """Chooses words by what a mask keeps; what it does not keep may become anything."""
        if not weight.isfinite().all():
            raise invalid("Codebook.encode", "a weight with NaN or infinity", "finite numbers")
        values = self.vectors.split(weight.detach().cpu().float())
        there = self.vectors.split(mask.detach().cpu().float())
        found = self._nearest(values / self._spread_scale(), there)
        held = self.integers()
        same = ((self._decoded(held) == values) | (there == 0)).all(1)
        return replace(self, codes=pack(torch.where(same, held, found.to(torch.uint8)), self.bits))

    def decode(self) -> Tensor:
        """Returns the scaled sums of words, float32."""
        return self.vectors.join(self._decoded(self.integers())).contiguous()

    def _decoded(self, codes: Tensor) -> Tensor:
        """Returns the vectors that codes stand for, `[vectors, length]`."""
        places = codes.long() + self._first_word()
        books = self.books.float().flatten(1, 2)
        total = books[0][places[0]]
        for book, place in zip(books[1:], places[1:], strict=True):
            total = total + book[place]
        return total * self._spread_scale()

    def _first_word(self) -> Tensor:
        """Where a vector's table starts among all words of a stage, int64 `[vectors]`."""
        per_channel = self.vectors.count // max(self.vectors.channels, 1)
        tables = torch.arange(self.vectors.channels) // self.rows
        return tables.repeat_interleave(per_channel) * self.words

    def _spread_scale(self) -> Tensor:
        """The scale of every vector, `[vectors, 1]`."""
        if self.scale is None:
            return torch.ones(1, 1)
        return self.scale.float().repeat_interleave(self.vectors.count // max(self.vectors.channels, 1))[:, None]

    def _nearest(self, values: Tensor, there: Tensor) -> Tensor:
        """Returns the words nearest to vectors where they count, table by table, int64 `[stages, vectors]`."""
        counted = None if bool(there.all()) else self._by_table(there)
        found = nearest_words(self._by_table(values), self.books.float(), counted)
        per_channel = len(values) // max(self.vectors.channels, 1)
        return found.view(self.stages, -1, per_channel)[:, : self.vectors.channels].flatten(1)

    def _by_table(self, values: Tensor) -> Tensor:
        """Returns `[vectors, length]` as `[tables, vectors, length]`, the last table filled up with zeros."""
        tables = self.books.shape[1]
        by_channel = values.view(self.vectors.channels, -1, self.vectors.length)
        padded = functional.pad(by_channel, (0, 0, 0, 0, 0, tables * self.rows - len(by_channel)))
        return padded.view(tables, -1, self.vectors.length)

    def config(self) -> dict[str, Any]:
        """Returns the vectors and how many rows share tables."""
        return {"rows": self.rows, **self.vectors.config()}

    def tensors(self) -> dict[str, Tensor]:
        """Returns packed codes, tables and, where there are any, scales."""
        scale = {} if self.scale is None else {"scale": self.scale}
        return {"codes": self.codes, "books": self.books, **scale}

    @classmethod
    def from_parts(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """Undoes `config` and `tensors`."""
        settings = dict(config)
        rows = settings.pop("rows")
        vectors = Blocks.from_config(settings)
        return cls(
            vectors=vectors, rows=rows, books=tensors["books"], scale=tensors.get("scale"), codes=tensors["codes"]
        )

    def __str__(self) -> str:
        length = self.vectors.length
        words = (
            f"{self.words} words of {length}{self.vectors.said_of_padding}"
            if length > 1
            else f"{self.words} learned values"
        )
        stages = f"sums of {self.stages} times " if self.stages > 1 else ""
        tables = f", {self.books.shape[1]} tables" if self.books.shape[1] > 1 else ""
        return f"{stages}{words}{tables}{', scaled per channel' if self.scale is not None else ''}"


def _bits(words: int) -> int:
    return (words - 1).bit_length()
