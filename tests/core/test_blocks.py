import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from laconic.core.blocks import Blocks
from laconic.core.errors import UsageError


@st.composite
def any_blocks(draw: st.DrawFn) -> Blocks:
    shape = tuple(draw(st.lists(st.integers(0, 5), max_size=4)))
    axis = draw(st.none() | st.integers(0, len(shape) - 1)) if shape else None
    return Blocks(shape=shape, axis=axis, group_size=None if axis is None else draw(st.none() | st.integers(1, 9)))


def numbered(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.arange(1.0, 1 + math.prod(shape)).view(shape)


@given(blocks=any_blocks())
def test_join_undoes_split(blocks: Blocks) -> None:
    tensor = numbered(blocks.shape)
    split = blocks.split(tensor)
    assert split.shape == (blocks.count, blocks.length)
    assert torch.equal(blocks.join(split), tensor)


@given(blocks=any_blocks())
def test_every_element_is_in_one_block_and_the_rest_is_zero(blocks: Blocks) -> None:
    split = blocks.split(numbered(blocks.shape)).flatten()
    assert sorted(split[split != 0].tolist()) == list(range(1, 1 + math.prod(blocks.shape)))
    assert split.numel() - math.prod(blocks.shape) < blocks.channels * (blocks.group_size or 1) or split.numel() == 0


@given(blocks=any_blocks().filter(lambda b: b.axis is not None))
def test_no_block_holds_elements_of_two_channels(blocks: Blocks) -> None:
    assert blocks.axis is not None
    channel = torch.arange(1.0, 1 + blocks.channels).view([-1, *(1 for _ in blocks.shape[blocks.axis + 1 :])])
    for block in blocks.split(channel.expand(blocks.shape)):
        assert len(set(block[block != 0].tolist())) <= 1


def test_groups_run_along_the_other_dimensions_in_order() -> None:
    blocks = Blocks(shape=(2, 5), axis=0, group_size=2)
    expected = [[1, 2], [3, 4], [5, 0], [6, 7], [8, 9], [10, 0]]
    assert blocks.split(numbered((2, 5))).tolist() == expected


@given(blocks=any_blocks())
def test_config_reads_back(blocks: Blocks) -> None:
    assert Blocks.from_config(blocks.config()) == blocks


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"axis": 2}, r"Blocks.axis: got 2; expected None or a dimension of \[2, 3\]"),
        ({"axis": -1}, "Blocks.axis: got -1"),
        ({"group_size": 4}, "Blocks.group_size: got 4; expected None, or a positive number beside an axis"),
        ({"axis": 0, "group_size": 0}, "Blocks.group_size: got 0"),
    ],
)
def test_impossible_blocks_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Blocks(shape=(2, 3), **settings)


def test_blocks_say_what_they_are() -> None:
    said = [str(Blocks(shape=(2, 3), axis=axis, group_size=size)) for axis, size in ((None, None), (1, None), (0, 2))]
    assert said == ["per tensor", "per channel", "per group of 2 (a channel's last one holds 1, padded)"]
    assert str(Blocks(shape=(2, 4), axis=0, group_size=2)) == "per group of 2"
