"""Layers as products of smaller ones: one technique = one file; which layer at which rank is chosen in `whole`."""

from laconic.factorize.activation_aware import ActivationAwareSVD
from laconic.factorize.canonical import CanonicalPolyadic
from laconic.factorize.decomposition import Decomposition, Factorization, Level
from laconic.factorize.low_rank_plus import LowRankPlus
from laconic.factorize.svd import SVD
from laconic.factorize.tucker import Tucker2
from laconic.factorize.whole import factorize

ALL: tuple[type[Factorization], ...] = (SVD, ActivationAwareSVD, Tucker2, CanonicalPolyadic)

__all__ = [
    "ALL",
    "SVD",
    "ActivationAwareSVD",
    "CanonicalPolyadic",
    "Decomposition",
    "Factorization",
    "Level",
    "LowRankPlus",
    "Tucker2",
    "factorize",
]
