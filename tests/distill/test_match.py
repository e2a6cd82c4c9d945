from typing import Any

import pytest
import torch
from torch import nn

from laconic.core.errors import UsageError
from laconic.distill import Match, Matched, Pair, Ramp, SameFeatures


def match(**options: Any) -> Match:
    return Match(**{"teacher": "a", "student": "b", "loss": SameFeatures(), **options})


def pair(student: tuple[int, ...], teacher: tuple[int, ...]) -> Pair:
    return Pair(student=torch.randn(student), teacher=torch.randn(teacher))


@pytest.mark.parametrize(
    ("kind", "student", "teacher", "built"),
    [
        ("linear", (2, 3), (2, 5), nn.Linear),
        ("linear", (2, 7, 3), (2, 7, 5), nn.Linear),
        ("conv", (2, 3, 7), (2, 5, 7), nn.Conv1d),
        ("conv", (2, 3, 4, 4), (2, 5, 4, 4), nn.Conv2d),
        ("conv", (2, 3, 8, 8), (2, 5, 4, 4), nn.Conv2d),
        ("conv", (2, 3, 2, 2, 2), (2, 5, 2, 2, 2), nn.Conv3d),
        (None, (2, 5), (2, 5), nn.Identity),
    ],
)
def test_a_projection_gives_the_teacher_s_width(kind: Any, student: Any, teacher: Any, built: type) -> None:
    features = pair(student, teacher)
    projection = match(projection=kind).project(features)
    assert type(projection) is built
    assert Matched([match(projection=kind)], [features])([features], 0.0)["SameFeatures a -> b"] > 0


@pytest.mark.parametrize(
    ("kind", "student", "teacher", "named"),
    [
        (
            "linear",
            (2, 7, 3),
            (2, 9, 5),
            r"\[2, 7, 3\] of the student, \[2, 9, 5\] of the teacher; expected shapes that",
        ),
        ("linear", (2, 7, 3), (2, 5), "differ in the last dimension only"),
        ("conv", (2, 3), (2, 5), "one to three dimensions more"),
        ("conv", (2, 3, 4), (2, 5, 4, 4), "one to three dimensions more"),
        ("conv", (2, 3, 8), (2, 5, 4), r"SameFeatures: got features \[2, 5, 8\] .* expected the same shape"),
        (None, (2, 3), (2, 5), r"expected the same shape\. Match\(projection='linear'\)"),
    ],
)
def test_shapes_that_nothing_joins_are_one_clear_line(kind: Any, student: Any, teacher: Any, named: str) -> None:
    with pytest.raises(UsageError, match=named) as caught:
        Matched([match(projection=kind)], [pair(student, teacher)])
    assert "\n" not in str(caught.value)


def test_the_term_is_the_distance_times_weight_and_schedule() -> None:
    features = Pair(student=torch.tensor([[3.0]]), teacher=torch.tensor([[1.0]]))
    scheduled = match(weight=5.0, schedule=Ramp(start=1, end=0))
    matched = Matched([scheduled], [features])
    assert matched([features], 0.0) == {"SameFeatures a -> b": 20}
    assert matched([features], 0.75) == {"SameFeatures a -> b": 5}


def test_a_balanced_term_is_relative_to_its_size_in_the_trial() -> None:
    trial = Pair(student=torch.tensor([[30.0]]), teacher=torch.tensor([[10.0]]))
    later = Pair(student=torch.tensor([[20.0]]), teacher=torch.tensor([[10.0]]))
    matched = Matched([match(weight=2.0, balance=True)], [trial])
    assert matched([trial], 0.0) == {"SameFeatures a -> b": 2}
    assert matched([later], 0.0) == {"SameFeatures a -> b": 0.5}
    assert "sizes" in matched.state_dict()


def test_a_term_that_is_zero_in_the_trial_is_not_balanced() -> None:
    same = Pair(student=torch.ones(1, 1), teacher=torch.ones(1, 1))
    later = Pair(student=torch.zeros(1, 1), teacher=torch.ones(1, 1))
    assert Matched([match(balance=True)], [same])([later], 0.0) == {"SameFeatures a -> b": 1}


def test_the_same_match_twice_is_refused_because_one_would_be_lost() -> None:
    with pytest.raises(UsageError, match="got 'SameFeatures a -> b'; expected each match once"):
        Matched([match(), match(weight=2.0)], [pair((2, 3), (2, 3))] * 2)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"weight": 0}, r"Match\.weight: got 0"),
        ({"weight": torch.inf}, r"Match\.weight: got inf"),
        ({"projection": "mlp"}, r"Match\.projection: got 'mlp'"),
        ({"loss": "mse"}, r"Match\.loss: got 'mse'"),
        ({"teacher": "a["}, r"Match: got 'a\['"),
    ],
)
def test_values_outside_their_domain_are_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        match(**options)
