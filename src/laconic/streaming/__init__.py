"""Models larger than memory: read, compressed and written one block at a time."""

from laconic.streaming.shards import Shards
from laconic.streaming.streamed import Part, Streamed
from laconic.streaming.structure import structure
from laconic.streaming.whole import stream

__all__ = ["Part", "Shards", "Streamed", "stream", "structure"]
