import warnings
from dataclasses import replace

import pytest
import torch

from laconic import ModelError
from laconic.calibrate import Layer, LayerEvidence, reached, reached_of


def evidence(*energies: float) -> LayerEvidence:
    layer = Layer(parameter="fc.weight", kind="linear", shape=(2, len(energies)))
    moment = torch.tensor(energies, dtype=torch.float64).diag()[None]
    return LayerEvidence(layer=layer, input_sum=moment, gradient_sum=None, positions=torch.tensor([4]), predictions=4)


def test_a_layer_that_saw_anything_keeps_its_evidence() -> None:
    seen = evidence(0.0, 1e-300)
    with warnings.catch_warnings(action="error"):
        assert reached(seen) is seen
        assert reached(None) is None
        assert reached_of({"a": seen}, ["a"], "f", so="it stays") == {"a": seen}


def test_a_layer_that_saw_nothing_is_named() -> None:
    with pytest.warns(UserWarning, match=r"^fc\.weight: the calibration data never reached this layer \(nothing but"):
        assert reached(evidence(0.0, 0.0)) is None
    embedding = replace(evidence(0.0, 0.0), input_sum=torch.zeros(1, 2, dtype=torch.float64))
    with pytest.warns(UserWarning, match=r"^fc\.weight"):
        assert reached(embedding) is None


def test_all_layers_that_saw_nothing_or_never_ran_are_named_at_once() -> None:
    seen = {"a": evidence(1.0), "b": evidence(0.0), "c": evidence(2.0)}
    expected = (
        r"^stream: the calibration data never reached blocks\.0\.b, blocks\.0\.d \(nothing but zeros came, or no "
        r"product that is known used it\); they stay\. Give data that uses it\.$"
    )
    with pytest.warns(UserWarning, match=expected) as said:
        found = reached_of(seen, ["a", "b", "d"], "stream", so="they stay", prefix="blocks.0.")
    assert (found, len(said)) == ({"a": seen["a"]}, 1)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_sums_that_are_no_numbers_are_refused(bad: float) -> None:
    with pytest.raises(ModelError, match=r"^fc\.weight: the squares of its inputs add up to NaN or infinity"):
        reached(evidence(1.0, bad))
    gradients = replace(evidence(1.0), gradient_sum=torch.full((1, 2), bad, dtype=torch.float64))
    with pytest.raises(ModelError, match=r"^fc\.weight: the squares of the gradients at its outputs"):
        reached(gradients)
