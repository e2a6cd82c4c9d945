"""Weights that share what is stored: one technique = one file; a whole model in one call is `whole`."""

from laconic.share.across_depth import AcrossDepth, Join
from laconic.share.hashed_sharing import HashedSharing
from laconic.share.sparse_dictionary import SparseDictionary
from laconic.share.whole import Sharing, share

ALL: tuple[type[Sharing], ...] = (HashedSharing, SparseDictionary)

__all__ = ["ALL", "AcrossDepth", "HashedSharing", "Join", "Sharing", "SparseDictionary", "share"]
