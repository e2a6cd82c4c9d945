"""The concrete codings. A plan is read back by looking a coding's `kind` up in `ALL`."""

from laconic.core.coding import Coding
from laconic.core.codings.affine import AffineGrid
from laconic.core.codings.codebook import Codebook
from laconic.core.codings.dense import Dense
from laconic.core.codings.dictionary import Dictionary
from laconic.core.codings.half import Half
from laconic.core.codings.hashed import Hashed
from laconic.core.codings.low_rank_sum import LowRankSum
from laconic.core.codings.sparse import Sparse
from laconic.core.codings.value_grid import ValueGrid
from laconic.core.codings.zipped import Zipped

ALL: tuple[type[Coding], ...] = (
    AffineGrid,
    Codebook,
    Dense,
    Dictionary,
    Half,
    Hashed,
    LowRankSum,
    Sparse,
    ValueGrid,
    Zipped,
)

__all__ = [
    "ALL",
    "AffineGrid",
    "Codebook",
    "Coding",
    "Dense",
    "Dictionary",
    "Half",
    "Hashed",
    "LowRankSum",
    "Sparse",
    "ValueGrid",
    "Zipped",
]
