"""Small networks, each of which couples slices in a way that has broken a pruning tool."""

from functools import cache

import torch

from laconic.graph.axes import axes

from . import image_patterns, sequence_patterns

PATTERNS = {pattern.__name__: pattern for pattern in (*image_patterns.ALL, *sequence_patterns.ALL)}


@cache
def analysed(name):
    """The pattern in float64, its axes and its inputs; made once, so leave all three as they are."""
    torch.manual_seed(0)
    model, inputs = PATTERNS[name]()
    for buffer_name, buffer in model.named_buffers():
        if "running" in buffer_name:
            buffer.uniform_(0.5, 1.5)
    inputs = tuple(x.double() if x.is_floating_point() else x for x in inputs)
    return model.double(), axes(model, inputs), inputs
