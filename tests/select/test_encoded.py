"""One weight coded by many techniques at once."""

import torch
from selecting_samples import TASK, network

from laconic.calibrate import calibrate
from laconic.prune.weights import CompensatedSparsity, MaskThen
from laconic.quantize import CompensatedRounding, ScalarCodebook, VectorCodebook
from laconic.select.encoded import encoded

MODEL = network()
SEEN = calibrate(MODEL, TASK, samples=256, activations=False).layers["6.weight"]
WEIGHT = dict(MODEL.named_parameters())["6.weight"]


def test_together_each_technique_gives_what_it_gives_alone() -> None:
    mask = CompensatedSparsity(sparsity=0.7)
    techniques = [
        *(CompensatedRounding(bits=bits) for bits in (8, 3, 2)),
        CompensatedRounding(bits=3, symmetric=False),
        ScalarCodebook(bits=2),
        mask,
        MaskThen(mask=mask, then=CompensatedRounding(bits=3, keep_zeros=True)),
    ]
    found = dict(encoded(WEIGHT, SEEN.remembering(), techniques))
    assert list(found) == techniques
    for technique, coding in found.items():
        alone = technique.encode(WEIGHT, SEEN.layer, SEEN).decode()
        torch.testing.assert_close(coding.decode(), alone, rtol=1e-5, atol=1e-6)


def test_what_does_not_go_together_with_the_layer_is_left_out() -> None:
    small = VectorCodebook(bits=8, length=64)
    assert list(dict(encoded(WEIGHT, SEEN, [small, CompensatedRounding(bits=4)]))) == [CompensatedRounding(bits=4)]
