import base64
import struct
import xml.etree.ElementTree as ElementTree
import zlib
from typing import Any

import pytest
import torch

from laconic.core.errors import UsageError
from laconic.distill import SoftTree, draw_tree
from laconic.distill.tree_picture import png


def read(data: bytes) -> list[list[tuple[int, ...]]]:
    """The pixels of a PNG of one IDAT chunk without filters; checks every sum."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length]) == (zlib.crc32(kind + body),)
        chunks[kind], at = body, at + 12 + length
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    assert (chunks[b"IHDR"][8:], chunks[b"IEND"]) == (b"\x08\x02\0\0\0", b"")
    raw, stride = zlib.decompress(chunks[b"IDAT"]), 1 + 3 * width
    assert (len(raw), set(raw[::stride])) == (stride * height, {0})
    return [[tuple(raw[r * stride + 1 + 3 * c :][:3]) for c in range(width)] for r in range(height)]


SVG = "{http://www.w3.org/2000/svg}"


def test_it_holds_a_filter_for_each_node_and_bars_for_each_leaf() -> None:
    root = ElementTree.fromstring(draw_tree(SoftTree(inputs=12, classes=3, depth=3), shape=(2, 2)))
    assert len(root.findall(f"{SVG}image")) == 7
    assert len(root.findall(f"{SVG}text")) == 8
    assert len(root.findall(f"{SVG}line")) == 14


def test_a_filter_is_red_where_it_sends_right_and_blue_where_left() -> None:
    tree = SoftTree(inputs=3, classes=2, depth=1)
    with torch.no_grad():
        tree.gates.filters.weight.copy_(torch.tensor([[2.0, 0.0, -2.0]]))
    image = ElementTree.fromstring(draw_tree(tree, shape=(1, 3))).find(f"{SVG}image")
    assert image is not None
    data = base64.b64decode(image.attrib["href"].partition(",")[2])
    assert read(data) == [[(178, 24, 43), (255, 255, 255), (33, 102, 172)]]


def test_a_leaf_is_named_after_its_likeliest_class_and_names_are_escaped() -> None:
    tree = SoftTree(inputs=1, classes=2, depth=1)
    with torch.no_grad():
        tree.leaves.logits.copy_(torch.tensor([[3.0, 0.0], [0.0, 3.0]]))
    root = ElementTree.fromstring(draw_tree(tree, names=["cat & dog", "<none>"]))
    assert [text.text for text in root.findall(f"{SVG}text")] == ["cat & dog", "<none>"]


def test_the_path_of_an_explanation_is_drawn_in_its_colour() -> None:
    tree = SoftTree(inputs=4, classes=2, depth=3)
    (explanation,) = tree.explain(torch.ones(1, 4))
    root = ElementTree.fromstring(draw_tree(tree, explanation=explanation))
    assert sum(line.attrib["stroke"] == "#e08214" for line in root.findall(f"{SVG}line")) == 3


def test_a_png_is_read_back_as_it_was() -> None:
    pixels = torch.arange(24, dtype=torch.uint8).view(2, 4, 3) * 10
    assert read(png(pixels)) == [[tuple(pixel) for pixel in row] for row in pixels.tolist()]


@pytest.mark.parametrize("options", [{"shape": (3, 3)}, {"shape": (0, 4)}, {"names": ["one"]}])
def test_a_shape_or_names_that_do_not_fit_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="draw_tree"):
        draw_tree(SoftTree(inputs=4, classes=2, depth=1), **options)
