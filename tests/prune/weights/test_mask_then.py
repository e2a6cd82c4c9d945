"""A mask, and a coding inside it."""

from dataclasses import replace

import pytest
import torch

from laconic.calibrate import Encoder
from laconic.core.formats import BINARY, NF4
from laconic.prune.weights import BlockPattern, CompensatedSparsity, MaskThen, SmallestWeights
from laconic.quantize import CompensatedRounding, RoundToValues, ScalarCodebook, VectorCodebook
from laconic.select import MaskThen as Offered
from prune.weights.samples import LAYERS, LINEAR, evidence_of, weight_of

THEN = {
    "compensated rounding": CompensatedRounding(bits=3, keep_zeros=True),
    "scalar codebook": ScalarCodebook(bits=2, keep_zeros=True),
    "vector codebook": VectorCodebook(bits=3, length=4, keep_zeros=True),
    "sums of words": VectorCodebook(bits=2, length=2, stages=2, keep_zeros=True),
    "values with a zero": RoundToValues(format=NF4, per=10, keep_zeros=True),
    "values without a zero": RoundToValues(format=BINARY, keep_zeros=True),
    "codebook that knows of no zeros": ScalarCodebook(bits=2),
}


@pytest.mark.parametrize("then", THEN.values(), ids=THEN)
def test_zeros_of_the_first_step_stay_zero_and_the_rest_is_what_the_second_says(then: Encoder) -> None:
    evidence, mask = evidence_of(LINEAR), CompensatedSparsity(sparsity=0.75)
    zero = mask.encode(weight_of(LINEAR), LINEAR, evidence).decode() == 0
    coding = MaskThen(mask=mask, then=then).encode(weight_of(LINEAR), LINEAR, evidence)
    decoded = coding.decode()
    assert bool((decoded[zero] == 0).all()) and float(zero.double().mean()) == 0.75
    assert torch.equal(decoded[~zero], coding.inner.decode()[~zero])


@pytest.mark.parametrize("name", ["scalar codebook", "vector codebook", "sums of words", "values without a zero"])
@pytest.mark.parametrize("layer", ["linear", "conv", "transposed linear"])
def test_a_technique_that_keeps_zeros_gives_them_by_itself_and_is_nearer_for_it(name: str, layer: str) -> None:
    """As if zeros were values like others: they take words, and draw the others to them."""
    layer_, then = LAYERS[layer], THEN[name]
    layer_ = replace(layer_, shape=(24, *layer_.shape[1:]))
    seen, generator = evidence_of(layer_), torch.Generator().manual_seed(0)
    weight = torch.randn(layer_.shape, generator=generator) * (torch.rand(layer_.shape, generator=generator) < 0.4)
    errors = []
    for keep in (True, False):
        found = replace(then, keep_zeros=keep).encode(weight, layer_, seen).decode()
        if keep:
            assert torch.equal(found != 0, weight != 0)
        change = layer_.matrix(torch.where(weight != 0, found, 0.0) - weight).double()
        errors.append(float(((change @ seen.A) * change).sum()))
    assert errors[0] < errors[1]


def test_words_of_vectors_that_are_all_zero_are_not_stored() -> None:
    mask = SmallestWeights(sparsity=0.5, pattern=BlockPattern(rows=1, columns=4))
    words = VectorCodebook(bits=4, length=4, keep_zeros=True)
    coding = MaskThen(mask=mask, then=words).encode(weight_of(LINEAR), LINEAR, evidence_of(LINEAR))
    assert len(coding.tensors()["inner.codes"]) == 12 * 20 // 4 // 2 * 4 // 8


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
