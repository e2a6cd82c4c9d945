"""Why an operator freezes a dimension, in a few words."""

from __future__ import annotations

import torch

from laconic.graph.axes.rules import RULES, lookup, space
from laconic.graph.axes.rules.elementwise import UNTAGGED
from laconic.graph.operators import CONVOLUTIONS, TRANSPOSED_CONVOLUTIONS

EFFECTS: tuple[tuple[frozenset[str], str], ...] = (
    (CONVOLUTIONS | TRANSPOSED_CONVOLUTIONS, "kernel positions"),
    (frozenset(lookup.RULES), "found by index"),
    (frozenset({"select", "unbind"}), "taken one by one"),
    (frozenset({"topk", "sort", "argsort", "cumprod", "roll", "flip"}), "their order matters"),
    (frozenset(name for name in RULES if name.startswith("fft_")), "their order matters"),
    (frozenset(space.RULES), "positions in space"),
)


def reason(frozen_by: str) -> str:
    """Returns what froze a dimension, without the module it was in.

    Args:
        frozen_by: an entry of `FrozenDim.operators`.

    Example:
        >>> reason("aten.conv2d.default in layer1.0.conv1")
        'conv2d: kernel positions'
        >>> reason("aten.linalg_qr.default in head")
        'linalg_qr, which has no rule'
    """
    target = frozen_by.partition(" in ")[0]
    if "." not in target:
        return frozen_by
    namespace, name, *_ = target.split(".")
    shown = name if namespace == "aten" else f"{namespace}.{name}"
    plain = name.rstrip("_") if not name.startswith("_") else name
    if not has_rule(target):
        return f"{shown}, which has no rule"
    effect = next((f": {what}" for names, what in EFFECTS if plain in names), "")
    return shown + effect


def has_rule(target: str) -> bool:
    """Whether an operator, such as `aten.relu.default`, has a rule."""
    namespace, name, overload = (*target.split("."), "default", "default")[:3]
    plain = name.rstrip("_") if not name.startswith("_") else name
    if plain in RULES or plain in UNTAGGED:
        return True
    packet = getattr(getattr(torch.ops, namespace), name, None)
    return torch.Tag.pointwise in getattr(getattr(packet, overload, None), "tags", ())
