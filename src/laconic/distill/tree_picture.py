"""A soft decision tree as a picture: filters as images, leaves as bars."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterator, Sequence
from html import escape

import torch
from torch import Tensor

from laconic.core.errors import invalid
from laconic.distill.soft_tree import Explanation, SoftTree

SLOT, SIDE, ROW, BARS = 44, 40, 84, 48
"""Pixels: width of a leaf's place, side of a filter, height of a level, height of a leaf's bars."""
LEFT, RIGHT = (33, 102, 172), (178, 24, 43)
LINE, PATH = "#bbb", "#e08214"


def draw_tree(
    tree: SoftTree,
    *,
    shape: tuple[int, int] | None = None,
    names: Sequence[str] | None = None,
    explanation: Explanation | None = None,
) -> str:
    """Returns a picture of the tree as the text of an SVG file, which browsers show; nothing is loaded from outside.

    Each inner node is the image of its filter: red pixels send a sample to the right where they are bright, blue ones
    to the left; white ones do not count. Each leaf is a bar chart of its classes under the name of the likeliest.

    Args:
        tree: a trained tree.
        shape: height and width of the inputs; `height * width` must divide them, and channels are averaged. None: the
            inputs are no images, and filters are drawn as one row.
        names: of the classes. None: their numbers.
        explanation: one of `tree.explain(x)`; its path is drawn in orange.

    Raises:
        UsageError: the shape or the names do not fit the tree.

    Example:
        >>> draw_tree(SoftTree(inputs=64, classes=3, depth=2), shape=(8, 8)).count("<image")
        3
    """
    height, width = (1, tree.inputs) if shape is None else shape
    if min(height, width) < 1 or tree.inputs % (height * width) != 0:
        raise invalid("draw_tree.shape", shape, f"height and width of images of {tree.inputs} numbers")
    if names is not None and len(names) != tree.classes:
        raise invalid("draw_tree.names", list(names), f"a name for each of {tree.classes} classes")
    shown = [str(i) for i in range(tree.classes)] if names is None else list(names)
    images = tree.gates.filters.weight.detach().float().cpu().view(-1, tree.inputs // (height * width), height, width)
    leaves = tree.leaves.log_distributions().detach().exp().cpu()
    size = f'width="{SLOT * len(leaves)}" height="{ROW * tree.depth + BARS + 24}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        *_edges(tree, explanation),
        *(_filter(node, image.mean(0), tree) for node, image in enumerate(images)),
        *(_leaf(index, row.tolist(), shown, tree) for index, row in enumerate(leaves)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def place(node: int, tree: SoftTree) -> tuple[float, float]:
    """Returns where the middle of a node's upper edge is, in pixels; leaves follow the inner nodes."""
    level = (node + 1).bit_length() - 1
    slot = SLOT * 2 ** (tree.depth - level)
    return slot * (node + 1 - 2**level + 0.5), 4 + ROW * level


def _edges(tree: SoftTree, explanation: Explanation | None) -> Iterator[str]:
    """The path of the explanation comes last, on top."""
    taken = set()
    if explanation is not None:
        turns = zip(explanation.nodes, explanation.turns, strict=True)
        taken = {2 * node + (2 if right else 1) for node, right in turns}
    for child in sorted(range(1, 2 ** (tree.depth + 1) - 1), key=lambda child: child in taken):
        (x1, y1), (x2, y2) = place((child - 1) // 2, tree), place(child, tree)
        stroke = f'stroke="{PATH}" stroke-width="4"' if child in taken else f'stroke="{LINE}"'
        yield f'<line x1="{x1:g}" y1="{y1 + SIDE:g}" x2="{x2:g}" y2="{y2:g}" {stroke}/>'


def _filter(node: int, weights: Tensor, tree: SoftTree) -> str:
    x, y = place(node, tree)
    picture = base64.b64encode(png(_coloured(weights))).decode()
    frame = f'x="{x - SIDE / 2:g}" y="{y:g}" width="{SIDE}" height="{SIDE}"'
    return (
        f'<image {frame} preserveAspectRatio="none" style="image-rendering:pixelated" '
        f'href="data:image/png;base64,{picture}"><title>node {node}</title></image>'
        f'<rect {frame} fill="none" stroke="{LINE}"/>'
    )


def _leaf(index: int, distribution: Sequence[float], names: Sequence[str], tree: SoftTree) -> str:
    x, y = place(2**tree.depth - 1 + index, tree)
    width, left = SIDE / len(distribution), x - SIDE / 2
    bars = "".join(
        f'<rect x="{left + i * width:.2f}" y="{y + BARS * (1 - p):.2f}" width="{width:.2f}" height="{BARS * p:.2f}" '
        f'fill="#555"><title>{escape(name)}: {p:.3f}</title></rect>'
        for i, (name, p) in enumerate(zip(names, distribution, strict=True))
    )
    best = escape(names[max(range(len(distribution)), key=distribution.__getitem__)])
    return f'{bars}<text x="{x:g}" y="{y + BARS + 14:g}" text-anchor="middle">{best}</text>'


def _coloured(weights: Tensor) -> Tensor:
    """Returns colours `[height, width, 3]` of weights: blue below 0, red above, white at 0."""
    largest = weights.abs().max()
    share = weights / largest.where(largest > 0, 1)
    ends = torch.tensor([LEFT, RIGHT], dtype=torch.float32)
    colour = ends[(share > 0).long()]
    return (255 + share.abs()[..., None] * (colour - 255)).round().to(torch.uint8)


def png(pixels: Tensor) -> bytes:
    """Returns an image in the PNG format.

    Args:
        pixels: uint8 `[height, width, 3]`, red, green, blue.

    Reference:
        W3C, Portable Network Graphics, second edition, 2003: colour type 2, eight bits, no filter.
    """
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + bytes(row.flatten().tolist()) for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in body
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
