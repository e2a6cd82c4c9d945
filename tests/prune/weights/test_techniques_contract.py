"""What every technique that zeroes weights keeps to."""

import pytest
import torch

from laconic.core.edit import Recode
from laconic.core.errors import ModelError, UsageError
from laconic.core.plan import Plan
from laconic.prune.weights import ALL, NOfM, Sparsification, pattern_of
from prune.weights.samples import LAYERS, LINEAR, evidence_of, nothing_reached, weight_of

every_technique = pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
every_layer = pytest.mark.parametrize("name", LAYERS)
PATTERNS = ("unstructured", "2:4", "1:3", (4, 1), (3, 5), (16, 16), "rows", "columns")


@every_technique
@every_layer
def test_the_share_of_zeros_is_the_sparsity(kind: type[Sparsification], name: str) -> None:
    layer = LAYERS[name]
    coding = kind(sparsity=0.6).encode(weight_of(layer), layer, evidence_of(layer))
    assert coding.shape == layer.shape
    assert abs(int((~coding.mask).sum()) - 0.6 * weight_of(layer).numel()) <= 0.5
    assert torch.equal(coding.decode() != 0, coding.mask)


@every_technique
@pytest.mark.parametrize("form", PATTERNS, ids=str)
@pytest.mark.parametrize("name", ["linear", "conv", "grouped conv"])
def test_zeros_lie_in_the_pattern(kind: type[Sparsification], form: object, name: str) -> None:
    layer, pattern = LAYERS[name], pattern_of(form)
    sparsity = pattern.sparsity if isinstance(pattern, NOfM) else 0.5
    coding = kind(sparsity=sparsity, pattern=pattern).encode(weight_of(layer), layer, evidence_of(layer))
    seen = coding.layout.view(coding.mask)
    again = type(coding).from_parts(coding.config(), coding.tensors())
    assert torch.equal(again.decode(), coding.decode())
    # A pattern keeps a mask of its own form as it is.
    assert torch.equal(pattern.keep(seen.float(), int((pattern_units(pattern, seen) == 0).sum())), seen)


def pattern_units(pattern: object, seen: torch.Tensor) -> torch.Tensor:
    return torch.zeros(0) + 1 if isinstance(pattern, NOfM) else pattern.means(seen.float())


@every_technique
@every_layer
def test_sparsity_zero_is_the_identity(kind: type[Sparsification], name: str) -> None:
    layer, weight = LAYERS[name], weight_of(LAYERS[name])
    decoded = kind(sparsity=0.0).encode(weight, layer, evidence_of(layer)).decode()
    assert torch.equal(decoded, weight)


@every_technique
def test_the_same_input_gives_the_same_edit_and_is_left_alone(kind: type[Sparsification]) -> None:
    weight = weight_of(LINEAR)
    first = kind().edit(weight, LINEAR, evidence_of(LINEAR))
    assert first == kind().edit(weight, LINEAR, evidence_of(LINEAR))
    assert torch.equal(weight, weight_of(LINEAR))
    assert isinstance(first, Recode)


@every_technique
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_refused_by_name(kind: type[Sparsification], bad: float) -> None:
    weight = weight_of(LINEAR)
    weight[3, 4] = bad
    with pytest.raises(ModelError, match=r"fc\.weight: holds NaN or infinity"):
        kind().encode(weight, LINEAR, evidence_of(LINEAR))


@every_technique
def test_a_layer_that_nothing_reached_loses_its_smallest_weights_with_a_warning(kind: type[Sparsification]) -> None:
    weight = weight_of(LINEAR)
    if kind.__name__ == "SmallestWeights":
        coding = kind().encode(weight, LINEAR, nothing_reached(LINEAR))
    else:
        with pytest.warns(UserWarning, match=r"fc\.weight: the calibration data never reached this layer"):
            coding = kind().encode(weight, LINEAR, nothing_reached(LINEAR))
    assert weight.abs()[coding.mask].mean() > weight.abs()[~coding.mask].mean()
    assert torch.equal(coding.decode()[coding.mask], weight[coding.mask])


@every_technique
def test_without_evidence_the_smallest_go(kind: type[Sparsification]) -> None:
    weight = weight_of(LINEAR)
    coding = kind().encode(weight, LINEAR)
    assert coding.decode().isfinite().all()
    assert weight.abs()[coding.mask].mean() > 2 * weight.abs()[~coding.mask].mean()


@every_technique
def test_fewer_samples_than_inputs_are_enough(kind: type[Sparsification]) -> None:
    coding = kind(sparsity=0.7).encode(weight_of(LINEAR), LINEAR, evidence_of(LINEAR, vectors=3))
    assert coding.decode().isfinite().all()
    assert coding.decode().abs().max() < 100 * weight_of(LINEAR).abs().max()


@every_technique
def test_inputs_that_are_always_zero_go_first(kind: type[Sparsification]) -> None:
    if kind.__name__ == "SmallestWeights":
        pytest.skip("does not look at inputs")
    seen = evidence_of(LINEAR)
    seen.input_sum[:, 5] = seen.input_sum[:, :, 5] = 0
    coding = kind(sparsity=0.3).encode(weight_of(LINEAR), LINEAR, seen)
    assert not coding.decode()[:, 5].any()


@every_technique
def test_values_can_be_kept_in_half_precision(kind: type[Sparsification]) -> None:
    small = kind(half=True).encode(weight_of(LINEAR), LINEAR, evidence_of(LINEAR))
    large = kind().encode(weight_of(LINEAR), LINEAR, evidence_of(LINEAR))
    assert large.size_bytes - small.size_bytes == 2 * int(small.mask.sum())
    torch.testing.assert_close(small.decode(), large.decode(), rtol=1e-3, atol=1e-4)


@every_technique
@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, torch.nan])
def test_sparsity_outside_its_domain_is_refused(kind: type[Sparsification], sparsity: float) -> None:
    with pytest.raises(UsageError, match=rf"{kind.__name__}\.sparsity: got .*; expected a fraction in \[0, 1\)"):
        kind(sparsity=sparsity)


@every_technique
def test_a_sparsity_that_contradicts_the_pattern_is_refused(kind: type[Sparsification]) -> None:
    with pytest.raises(UsageError, match=r"sparsity: got 0\.7; expected 0\.5, which is what 2:4 means"):
        kind(sparsity=0.7, pattern=NOfM())


@every_technique
def test_edits_are_saved_and_read(kind: type[Sparsification], tmp_path: object) -> None:
    layer = LAYERS["conv"]
    plan = Plan.of([kind(sparsity=0.8).edit(weight_of(layer), layer, evidence_of(layer))])
    plan.save(str(tmp_path))
    assert Plan.load(str(tmp_path)) == plan
