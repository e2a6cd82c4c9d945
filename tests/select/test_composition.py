import torch
from selecting_samples import TASK, network
from torch import nn

from laconic.calibrate import calibrate
from laconic.prune.weights import CompensatedSparsity
from laconic.quantize import CompensatedRounding, ScalarCodebook
from laconic.select import MaskThen


def test_zeros_of_the_first_step_stay_zero_and_the_rest_is_on_the_grid() -> None:
    model = network()
    evidence = calibrate(model, TASK, activations=False).layers["6.weight"]
    weight = model[6].weight
    assert isinstance(weight, nn.Parameter)
    mask = CompensatedSparsity(sparsity=0.75)
    zero = mask.encode(weight, evidence.layer, evidence).decode() == 0
    for then in (CompensatedRounding(bits=3, keep_zeros=True), ScalarCodebook(bits=2)):
        coding = MaskThen(mask=mask, then=then).encode(weight, evidence.layer, evidence)
        decoded = coding.decode()
        assert bool((decoded[zero] == 0).all()) and float(zero.double().mean()) >= 0.75
        assert torch.equal(decoded[~zero], coding.inner.decode()[~zero])


def test_it_is_smaller_than_either_step_alone() -> None:
    model = network()
    evidence = calibrate(model, TASK, activations=False).layers["6.weight"]
    mask, then = CompensatedSparsity(sparsity=0.8), CompensatedRounding(bits=4, keep_zeros=True)
    both = MaskThen(mask=mask, then=then)
    sizes = [t.encode(model[6].weight, evidence.layer, evidence).size_bytes for t in (both, mask, then)]
    assert sizes[0] < min(sizes[1:])
