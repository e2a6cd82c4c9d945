from functools import cache

import pytest
import torch
from torch import nn

from laconic.core.errors import UsageError
from laconic.graph import capture
from laconic.graph.axes import axes

from .patterns import analysed


@cache
def small():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    return axes(capture(model, (torch.randn(2, 3, 4, 4),)))


def test_every_parameter_and_buffer_slice_is_listed():
    (axis,) = small()
    assert [(s.tensor, s.dim) for s in axis.slices] == [
        ("0.weight", 0),
        ("0.bias", 0),
        ("1.weight", 0),
        ("1.bias", 0),
        ("4.weight", 1),
        ("1.running_mean", 0),
        ("1.running_var", 0),
    ]


def test_index_of_an_axis_maps_to_blocks_of_a_flattened_dimension():
    (axis,) = small()
    placed = {(tensor, dim): indices.tolist() for tensor, dim, indices in axis.indices(2)}
    assert placed["0.weight", 0] == [2]
    assert placed["4.weight", 1] == [8, 9, 10, 11]


def test_index_of_an_axis_maps_to_strides_after_a_channel_shuffle():
    groups, within = analysed("channel_shuffle")[1]
    assert [i.tolist() for _, _, i in groups.indices(1)] == [[4, 5, 6, 7], [4, 5, 6, 7], [1, 4, 7, 10]]
    assert [i.tolist() for _, _, i in within.indices(1)] == [[1, 5, 9], [1, 5, 9], [3, 4, 5]]


def test_gates_of_an_lstm_are_cut_at_the_same_unit():
    (hidden,) = analysed("lstm")[1]
    placed = {(tensor, dim): indices.tolist() for tensor, dim, indices in hidden.indices(1)}
    assert placed["rnn.weight_ih_l0", 0] == [1, 7, 13, 19]
    assert placed["rnn.weight_ih_l1", 1] == [1, 7]


def test_slices_of_axes_cut_together_are_cut_at_once():
    found = analysed("fused_qkv")[1]
    heads, width = found
    kept = found.slices({heads: torch.tensor([0, 2]), width: torch.tensor([1])})
    assert {(s.tensor, s.dim): s.keep.tolist() for s in kept}["out.weight", 1] == [1, 9]


@pytest.mark.parametrize("keep", [[], [4], [-1], [1, 1]])
def test_impossible_indices_are_refused(keep):
    found = small()
    with pytest.raises(UsageError, match=r"keep of 0.weight\[0\]"):
        found.slices({found["0.weight[0]"]: torch.tensor(keep, dtype=torch.int64)})


def test_unknown_axis_is_an_error_that_lists_the_known():
    with pytest.raises(UsageError, match=r"expected one of 0.weight\[0\]"):
        small()["5.weight[0]"]


def test_table_shows_axes_and_what_is_frozen_by_whom():
    text = str(small())
    assert "0.weight[0]" in text and "channels" in text and "1.{weight,bias,running_mean,running_var}[0]" in text
    assert "conv2d: kernel positions  0.weight[2,3]" in text
    assert "the model's input         0.weight[1]" in text
