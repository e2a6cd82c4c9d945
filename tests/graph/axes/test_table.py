import re

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import laconic
import laconic.graph.axes
from laconic.core.errors import UsageError
from laconic.graph.axes.names import shortened
from laconic.graph.axes.reasons import has_rule, reason

from .patterns import PATTERNS, analysed


def opened(pattern):
    """What a pattern with braces stands for: the slow, obvious way."""
    name, _, dims = pattern.removesuffix("]").rpartition("[")
    names = [""]
    for i, part in enumerate(name.replace("}", "{").split("{")):
        choices = [part]
        if i % 2:
            first, dash, last = part.partition("-")
            choices = map(str, range(int(first), int(last) + 1)) if dash else part.split(",")
        names = [done + choice for choice in choices for done in names]
    return {(name, int(dim)) for name in names for dim in dims.split(",")}


@pytest.mark.parametrize("name", PATTERNS)
def test_short_names_stand_for_exactly_the_slices(name):
    for axis in analysed(name)[1]:
        places = [(part.tensor, part.dim) for part in axis.slices]
        stood_for = [place for pattern in shortened(places) for place in opened(pattern)]
        assert sorted(stood_for) == sorted(places)


def test_names_of_other_lengths_and_gaps_in_numbers_are_kept_apart():
    places = [(f"a.{i}.w", 0) for i in (0, 1, 3)] + [("a.w", 0), ("w", 0), ("a.0.w", 2)]
    assert shortened(places) == ["a.0.w[0,2]", "a.{1,3}.w[0]", "a.w[0]", "w[0]"]


@pytest.mark.parametrize("name", PATTERNS)
def test_every_axis_has_a_row_and_no_line_is_wide(name):
    found = analysed(name)[1]
    lines = str(found).splitlines()
    assert all(sum(line.startswith(f"{axis.name} ") for line in lines) == 1 for axis in found)
    assert all(len(line) <= 120 and line == line.rstrip() for line in lines)


def test_weight_of_an_axis_is_the_parameters_that_go_with_one_index():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
    row = str(laconic.axes(model, torch.randn(2, 3, 4, 4))).splitlines()[3].split()
    # 27 weights and a bias of the convolution, scale and shift, and 2 x 4 weights of the linear layer.
    assert row[:4] == ["0.weight[0]", "4", "channels", "38"]


def test_what_is_computed_over_an_axis_is_named_below_its_slices():
    text = str(analysed("transformer_layer")[1])
    assert "computed over by layer_norm in 1.{norm1,norm2}" in text


def test_reasons_say_what_the_operator_does_or_that_it_has_no_rule():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.first, self.head = nn.Embedding(9, 4), nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, ids):
            return self.head(self.first(self.embed(ids)).renorm(2, 0, 1.0))

    text = str(laconic.axes(Odd(), torch.zeros(2, 3, dtype=torch.int64)))
    assert re.search(r"renorm, which has no rule +first.\{weight,bias\}\[0\]", text)
    assert re.search(r"embedding: found by index +embed.weight\[0\]", text)
    assert reason("the model's output") == "the model's output"
    assert has_rule("aten.add.Tensor") and has_rule("aten.add_.Tensor") and not has_rule("aten.svd.default")


X = torch.randn(6, 3)


@pytest.mark.parametrize(
    "example",
    [
        X,
        (X,),
        [X],
        {"input": X},
        laconic.Task(evaluate=[(X, torch.zeros(6))]),
        laconic.Task(evaluate=DataLoader(TensorDataset(X, X), batch_size=2)),
    ],
)
def test_inputs_are_given_as_one_would_call_the_model_or_as_a_task(example):
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    assert [axis.size for axis in laconic.axes(model, example)] == [4]


def test_name_and_package_of_the_same_name_live_side_by_side():
    assert laconic.axes is laconic.graph.axes.axes
    found = laconic.axes(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), X)
    assert isinstance(found, laconic.graph.axes.Axes) and repr(found) == str(found)
    assert found["0.weight[0]"].size == 4


@pytest.mark.parametrize("wrong", [3, "x", None])
def test_inputs_of_another_kind_are_an_error(wrong):
    with pytest.raises(UsageError, match="example inputs: got"):
        laconic.axes(nn.Linear(3, 2), wrong)


def test_model_whose_every_axis_is_frozen_is_a_table_too():
    assert str(laconic.axes(nn.Linear(3, 2), X)).splitlines() == [
        "Linear: 0 axes can be cut, in 0 of 2 parameters.",
        "",
        "frozen by           dimensions",
        "the model's output  {weight,bias}[0]",
        "the model's input   weight[1]",
    ]
