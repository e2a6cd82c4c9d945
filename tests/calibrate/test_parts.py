import pytest
import torch

from laconic.calibrate import Layer, parts
from laconic.calibrate.parts import Part, Sums, evidence_of

LAYER = Layer(parameter="w", kind="linear", shape=(6, 2))


def sums(outputs: int, *, diagonal: bool = False) -> Sums:
    inputs = torch.ones(1, 2, 2, dtype=torch.float64)
    gradients = torch.arange(outputs**2, dtype=torch.float64).reshape(1, outputs, outputs)
    return Sums(inputs, gradients.diagonal(dim1=1, dim2=2) if diagonal else gradients, positions=3)


def test_overlapping_parts_add_up_where_they_overlap() -> None:
    found = {Part(LAYER, 0, 4): sums(4), Part(LAYER, 2, 6): sums(4)}
    (use,) = evidence_of(found, predictions=1)
    assert use.layer.groups == 3
    assert use.positions.tolist() == [3, 6, 3]
    assert use.input_sum[:, 0, 0].tolist() == [1, 2, 1]
    assert use.gradient_sum is not None
    assert use.gradient_sum[1].tolist() == [[10, 12], [18, 20]]  # The first's last block plus the second's first.


def test_a_part_of_which_only_the_diagonal_is_known_counts_with_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "FULL", 2)
    found = {Part(LAYER, 0, 2): sums(2), Part(LAYER, 2, 6): sums(4, diagonal=True)}
    (use,) = evidence_of(found, predictions=1)
    assert use.gradient_sum is not None
    assert use.gradient_sum.tolist() == [[[0, 1], [2, 3]], [[0, 0], [0, 5]], [[10, 0], [0, 15]]]


def test_a_weight_used_whole_and_in_parts_has_two_uses() -> None:
    found = {Part.all_of(LAYER): sums(6), Part(LAYER, 0, 3): sums(3), Part(LAYER, 3, 6): sums(3)}
    assert [use.layer.groups for use in evidence_of(found, predictions=1)] == [1, 2]


def test_a_weight_used_in_very_many_parts_is_left_out() -> None:
    layer = Layer(parameter="w", kind="linear", shape=(65, 2))
    assert evidence_of({Part(layer, i, i + 1): sums(1) for i in range(65)}, predictions=1) == ()


def test_one_use_without_gradients_leaves_the_layer_without() -> None:
    found = {Part(LAYER, 0, 3): sums(3), Part(LAYER, 3, 6): sums(3)}
    found[Part(LAYER, 3, 6)].differentiable = False
    assert evidence_of(found, predictions=1)[0].gradient_sum is None
