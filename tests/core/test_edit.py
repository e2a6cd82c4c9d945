import json

import pytest
import torch

from core.samples import GRID, cut_conv, every_edit, net, symmetric
from laconic.core.activation_grids import ActivationGrid
from laconic.core.edit import (
    ALL,
    Cut,
    Edit,
    Recode,
    RoundActivation,
    Slice,
    Swap,
    edit_from_parts,
)
from laconic.core.errors import UsageError
from laconic.core.spec import Identity, LowRank

EDITS = list(every_edit(net()))
every = pytest.mark.parametrize("edit", EDITS, ids=str)


def test_every_kind_has_a_sample_and_a_name_of_its_own() -> None:
    assert {type(edit) for edit in EDITS} == set(ALL)
    assert len({kind.kind for kind in ALL}) == len(ALL)


@every
def test_parts_give_an_equal_edit(edit: Edit) -> None:
    config = json.loads(json.dumps(edit.config()))
    again = edit_from_parts(edit.kind, config, {name: tensor.clone() for name, tensor in edit.tensors().items()})
    assert again == edit
    assert hash(again) == hash(edit)
    assert again.digest == edit.digest
    assert again.config() == edit_from_parts(edit.kind, config, again.tensors()).config()
    assert (str(again), again.where) == (str(edit), edit.where)


def test_different_edits_differ() -> None:
    assert len(set(EDITS)) == len(EDITS)
    assert EDITS[0] != "an edit"


GRID_4 = ActivationGrid(bits=4, scale=0.05, zero_point=3)
LOW_RANK = LowRank(torch.ones(1, 2), torch.ones(2, 1))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Recode("a", symmetric(torch.ones(2, 2))), Recode("b", symmetric(torch.ones(2, 2)))),
        (Recode("a", symmetric(torch.ones(2, 2))), Recode("a", symmetric(torch.eye(2)))),
        (Recode("a", symmetric(torch.ones(2, 2), 4)), Recode("a", symmetric(torch.ones(2, 2), 5))),
        (RoundActivation("a", "input", GRID), RoundActivation("a", "output", GRID)),
        (RoundActivation("a", "input", GRID), RoundActivation("a", "input", GRID_4)),
        (Swap("a", Identity()), Swap("a", LOW_RANK)),
        (Swap("a", LOW_RANK), Swap("a", LowRank(torch.ones(1, 2), torch.zeros(2, 1)))),
        (
            Cut(axis="a", slices=(Slice("w", 0, torch.tensor([0])),)),
            Cut(axis="a", slices=(Slice("w", 0, torch.tensor([1])),)),
        ),
        (
            Cut(axis="a", slices=(Slice("w", 0, torch.tensor([0])),)),
            Cut(axis="a", slices=(Slice("w", 1, torch.tensor([0])),)),
        ),
        (Cut(axis="a", slices=()), Cut(axis="a", slices=(), attributes=(("m", "n", 1),))),
    ],
)
def test_a_change_of_any_part_makes_another_edit(one: Edit, other: Edit) -> None:
    assert one != other
    assert one.digest != other.digest


def test_an_edit_says_what_happens_to_what() -> None:
    assert str(Recode("fc.weight", symmetric(torch.ones(4, 6)))) == (
        "fc.weight: 4-bit symmetric grid per channel, 28 bytes"
    )
    assert str(RoundActivation("fc", "input", GRID)) == "fc:input: rounded to 8 bits in steps of 0.05"
    assert str(Swap("fc", Identity())) == "fc: replaced by the identity"
    assert str(Swap("fc", LOW_RANK)) == "fc: replaced by two linear layers of rank 1"
    assert str(cut_conv()) == "conv's channels: cut to 5 in 7 tensors"
    sizes = Cut(axis="the config", slices=(), attributes=(("config", "hidden_size", 48),))
    assert str(sizes) == "the config: hidden_size = 48"


def test_an_attribute_of_a_cut_may_be_a_tuple() -> None:
    cut = Cut(axis="a", slices=(), attributes=(("norm", "normalized_shape", (5,)), ("fc", "in_features", 5)))
    again = Cut.from_parts(json.loads(json.dumps(cut.config())), {})
    assert again == cut
    assert again.attributes == cut.attributes


def test_an_activation_grid_rounds_to_its_values() -> None:
    grid = ActivationGrid(bits=2, scale=0.5, zero_point=1)
    rounded = grid.round(torch.tensor([-9.0, -0.3, 0.2, 0.3, 9.0]))
    assert rounded.tolist() == [-0.5, -0.5, 0.0, 0.5, 1.0]
    assert grid.highest == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bits": 1}, "ActivationGrid.bits: got 1; expected a whole number from 2 to 8"),
        ({"bits": 9}, "ActivationGrid.bits: got 9"),
        ({"scale": 0.0}, "ActivationGrid.scale: got 0.0; expected a positive number"),
        ({"scale": float("nan")}, "ActivationGrid.scale: got nan"),
        ({"scale": float("inf")}, "ActivationGrid.scale: got inf"),
        ({"zero_point": -1}, "ActivationGrid.zero_point: got -1; expected a whole number from 0 to 15"),
        ({"zero_point": 16}, "ActivationGrid.zero_point: got 16"),
    ],
)
def test_an_impossible_activation_grid_is_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ActivationGrid(**{"bits": 4, "scale": 0.1, "zero_point": 3, **settings})


def test_a_side_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match=r"RoundActivation.side: got 'inptu'; expected 'input' or 'output'"):
        RoundActivation("fc", "inptu", GRID)


@pytest.mark.parametrize("kind", ["", "Recode", "pickle"])
def test_an_unknown_kind_is_refused_with_the_known_ones(kind: str) -> None:
    with pytest.raises(UsageError, match=f"Edit.kind: got '{kind}'; expected one of recode, round, cut, swap"):
        edit_from_parts(kind, {}, {})
