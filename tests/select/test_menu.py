"""What every technique makes of bad input: whoever asks for a price list meets all of them."""

import warnings
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from laconic import Budget, allocate, apply, factorize, price, quantize, share, sparsify
from laconic.calibrate import Layer, LayerEvidence
from laconic.core.errors import ModelError, UsageError
from laconic.core.formats import BINARY
from laconic.core.plan import Plan
from laconic.core.task import Task
from laconic.factorize import SVD, ActivationAwareSVD, CanonicalPolyadic, Factorization, LowRankPlus, Tucker2
from laconic.prune.weights import (
    AlternatingSparsity,
    BrainDamage,
    CompensatedSparsity,
    MaskThen,
    SmallestWeights,
    Wanda,
    sparsity_of,
)
from laconic.quantize import MXFP4, CompensatedRounding, RoundToNearest, RoundToValues, ScalarCodebook, VectorCodebook
from laconic.select.menu import EVERYTHING, Technique
from laconic.share import AcrossDepth, HashedSharing, SparseDictionary
from prune.weights.samples import evidence_of, nothing_reached, weight_of

CONV = Layer(parameter="conv.weight", kind="conv", shape=(16, 8, 3, 1))
TECHNIQUES: tuple[Technique, ...] = (
    RoundToNearest(bits=3),
    CompensatedRounding(bits=2),
    CompensatedRounding(bits=4, symmetric=False, per=7),
    RoundToValues(),
    RoundToValues(format=BINARY),
    MXFP4,
    ScalarCodebook(bits=2),
    VectorCodebook(bits=3, length=5),
    Wanda(),
    BrainDamage(),
    CompensatedSparsity(),
    AlternatingSparsity(),
    MaskThen(mask=CompensatedSparsity(), then=CompensatedRounding(bits=4, keep_zeros=True)),
    LowRankPlus(residual=CompensatedRounding(bits=2), rank=1),
    HashedSharing(),
    SparseDictionary(atoms=8, nonzeros=1, length=6),
    SVD(),
    ActivationAwareSVD(),
    Tucker2(levels=3),
    CanonicalPolyadic(levels=2, iterations=5),
)
each_technique = pytest.mark.parametrize("technique", TECHNIQUES, ids=lambda t: str(t)[:40])


def results(technique: Technique, weight: Tensor, seen: LayerEvidence | None) -> list[Tensor]:
    """Returns all tensors that a technique makes of the convolution, and what it says they cost."""
    if not isinstance(technique, Factorization):
        return [technique.encode(weight, CONV, seen).decode()]
    module = nn.Conv2d(8, 16, (3, 1))
    module.weight.data = weight
    found = technique.decompose(module, CONV, seen)
    assert found is not None
    stages = [tensor for level in found.levels for tensor in found.spec(level).tensors().values()]
    return [*stages, torch.tensor([level.error for level in found.levels], dtype=torch.float64)]


def seen_with(change: str) -> LayerEvidence:
    """Evidence of inputs that have something wrong with them."""
    x = torch.randn(1, 200, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    match change:
        case "one sample":
            x = x[:, :1]
        case "always the same":
            x = torch.ones_like(x)
        case "huge":
            x = x * 1e30
        case "tiny":
            x = x * 1e-160
        case "of many sizes":
            x = x * torch.logspace(-12, 12, 24, dtype=torch.float64)
    return replace(evidence_of(CONV), input_sum=x.mT @ x)


def test_all_kinds_of_the_price_list_are_here() -> None:
    assert {type(one) for one in EVERYTHING} - {AcrossDepth} <= {type(technique) for technique in TECHNIQUES}


@each_technique
def test_a_layer_that_nothing_reached_is_named_and_coded_as_without_evidence(technique: Technique) -> None:
    weight = weight_of(CONV)
    with pytest.warns(UserWarning, match=r"^conv\.weight: the calibration data never reached this layer"):
        found = results(technique, weight, nothing_reached(CONV))
    for one, other in zip(found, results(technique, weight, None), strict=True):
        assert torch.equal(one, other)


def test_the_smallest_weights_go_without_a_look_at_evidence() -> None:
    with warnings.catch_warnings(action="error"):
        results(SmallestWeights(), weight_of(CONV), nothing_reached(CONV))


@each_technique
@pytest.mark.parametrize("bad", [torch.nan, -torch.inf, 2e25])
def test_a_weight_that_is_no_number_or_beyond_all_bounds_is_refused_by_name(technique: Technique, bad: float) -> None:
    weight = weight_of(CONV)
    weight[3, 2, 1] = bad
    with pytest.raises(ModelError, match=r"^conv\.weight: holds (NaN or infinity|2e\+25); expected"):
        results(technique, weight, evidence_of(CONV))


@each_technique
def test_odd_inputs_give_numbers(technique: Technique) -> None:
    for inputs in ("one sample", "always the same", "huge", "tiny", "of many sizes"):
        assert all(tensor.isfinite().all() for tensor in results(technique, weight_of(CONV), seen_with(inputs))), inputs


@each_technique
def test_gradients_that_are_all_zero_leave_numbers(technique: Technique) -> None:
    seen = evidence_of(CONV)
    assert seen.gradient_sum is not None
    for tensor in results(technique, weight_of(CONV), replace(seen, gradient_sum=seen.gradient_sum * 0)):
        assert tensor.isfinite().all()


@each_technique
def test_moments_that_are_no_numbers_are_refused_by_name(technique: Technique) -> None:
    seen = evidence_of(CONV)
    with pytest.raises(ModelError, match=r"^conv\.weight: the squares of its inputs add up to NaN or infinity"):
        results(technique, weight_of(CONV), replace(seen, input_sum=seen.input_sum * torch.inf))


class Partly(nn.Module):
    """Of three layers one is never called, and one reads nothing but zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.starved, self.idle = nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 12)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x) + self.starved(0 * x)


TASK = Task(evaluate=[torch.randn(64, 12, generator=torch.Generator().manual_seed(0))], metric="mse")
WHOLE: dict[str, Callable[[nn.Module], Plan]] = {
    "quantize": lambda model: quantize(model, TASK, bits=4),
    "quantize in order": lambda model: quantize(model, TASK, bits=4, in_order=True),
    "sparsify": lambda model: sparsify(model, TASK, sparsity=0.5),
    "sparsify in order": lambda model: sparsify(model, TASK, sparsity=0.5, in_order=True),
    "factorize": lambda model: factorize(model, TASK, rank=2),
    "share": lambda model: share(model, TASK, method=HashedSharing()),
}


@pytest.mark.parametrize("whole", WHOLE)
def test_functions_for_whole_models_name_the_layers_that_nothing_reached_once(whole: str) -> None:
    model = Partly()
    with pytest.warns(UserWarning) as said:
        plan = WHOLE[whole](model)
    assert [str(one.message).split(" (")[0] for one in said] == [
        f"{whole.split()[0]}: the calibration data never reached starved.weight, idle.weight"
    ]
    assert {edit.where.split(".")[0] for edit in plan} == {"used", "starved", "idle"}
    assert all(p.isfinite().all() for p in apply(model, plan).parameters())


def test_a_ratio_is_saved_where_something_is_known_of_the_cost() -> None:
    model = Partly()
    with pytest.warns(UserWarning, match=r"starved\.weight, idle\.weight \(.*; they stay as they are"):
        plan = factorize(model, TASK, ratio=0.1)
    assert [edit.where for edit in plan] == ["used"]


def test_one_threshold_for_all_layers_does_not_judge_those_that_nothing_reached() -> None:
    with pytest.warns(UserWarning, match="there the smallest weights go"):
        plan = sparsify(Partly(), TASK, sparsity=0.25, method="wanda", distribution="global")
    assert sparsity_of(plan) == {"used.weight": 0.25, "starved.weight": 0.25, "idle.weight": 0.25}


def test_what_nothing_reached_has_no_price_and_the_list_says_so() -> None:
    found = price(Partly(), TASK, techniques=[CompensatedRounding(bits=4)], measure=0)
    assert set(found.layers) == {"used.weight"}
    assert found.notes == (
        "without a price, because nothing but zeros reached them: starved.weight.",
        "without a price, because the data never used them: idle.weight.",
    )
    with pytest.raises(
        UsageError, match=r"allow more\. Without a price, because nothing but zeros reached them: starved"
    ):
        allocate(found, Budget(size=0.1))
