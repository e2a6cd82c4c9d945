"""A model larger than memory, coded without data."""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import nn

from laconic.core.errors import LaconicError
from laconic.streaming.coding import Techniques, carry_out, coded
from laconic.streaming.parts import around, as_stored, blocks_of, bytes_in_checkpoint, filled
from laconic.streaming.shards import Shards
from laconic.streaming.streamed import OUTER, Streamed


def stream_unseen(
    model: nn.Module, shards: Shards, techniques: Techniques, state: Streamed, tell: Callable[[str], None]
) -> Streamed:
    """Codes every weight for itself: nothing is run, so nothing is known of what passes through it.

    Args:
        model: on the meta device; left untouched.
        shards: its weights.
        techniques: as told.
        state: of what is finished already.
        tell: called with the path of each part that is finished.
    """
    blocks = blocks_of(model, state.blocks)
    for place, (path, block) in enumerate([*blocks.items(), ("", None)]):
        if place < len(state.parts):
            continue
        whole = around(model, state.blocks) if block is None else copy.deepcopy(block)
        prefix = f"{path}." if path else ""
        part, types = filled(whole, prefix, shards)
        size = bytes_in_checkpoint(part, types)
        try:
            plan = coded(part, prefix, None, techniques)
        except LaconicError as error:
            raise type(error)(f"{path}: {error}" if path else str(error)) from error
        carry_out(part, plan)
        folder = f"block-{place:05d}" if path else OUTER
        state = state.finished(path, folder, as_stored(part, types), plan, original_bytes=size, error=None)
        tell(path)
    return state
