"""A mask, and a coding inside it."""

import pytest
import torch

from laconic.calibrate import Encoder
from laconic.prune.weights import CompensatedSparsity, MaskThen, SmallestWeights
from laconic.quantize import CompensatedRounding, ScalarCodebook
from laconic.select import MaskThen as Offered
from prune.weights.samples import LINEAR, evidence_of, weight_of

THEN = {
    "compensated rounding": CompensatedRounding(bits=3, keep_zeros=True),
    "scalar codebook": ScalarCodebook(bits=2),
}


@pytest.mark.parametrize("then", THEN.values(), ids=THEN)
def test_zeros_of_the_first_step_stay_zero_and_the_rest_is_what_the_second_says(then: Encoder) -> None:
    evidence, mask = evidence_of(LINEAR), CompensatedSparsity(sparsity=0.75)
    zero = mask.encode(weight_of(LINEAR), LINEAR, evidence).decode() == 0
    coding = MaskThen(mask=mask, then=then).encode(weight_of(LINEAR), LINEAR, evidence)
    decoded = coding.decode()
    assert bool((decoded[zero] == 0).all()) and float(zero.double().mean()) == 0.75
    assert torch.equal(decoded[~zero], coding.inner.decode()[~zero])


def test_it_is_smaller_than_either_step_alone() -> None:
    evidence = evidence_of(LINEAR)
    mask, then = CompensatedSparsity(sparsity=0.8), CompensatedRounding(bits=4, keep_zeros=True)
    techniques: tuple[Encoder, ...] = (MaskThen(mask=mask, then=then), mask, then)
    sizes = [t.encode(weight_of(LINEAR), LINEAR, evidence).size_bytes for t in techniques]
    assert sizes[0] < min(sizes[1:])


def test_its_edit_recodes_the_parameter_and_choosing_offers_the_same_class() -> None:
    both = MaskThen(mask=SmallestWeights(sparsity=0.5), then=CompensatedRounding(bits=4, keep_zeros=True))
    edit = both.edit(weight_of(LINEAR), LINEAR)
    assert edit.parameter == LINEAR.parameter and edit.coding.shape == LINEAR.shape
    assert Offered is MaskThen
