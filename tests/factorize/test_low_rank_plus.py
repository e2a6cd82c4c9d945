"""Few directions in full and another technique for the rest."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import laconic
from laconic.calibrate import Encoder, Layer, LayerEvidence
from laconic.core.coding import Coding
from laconic.core.codings import Dense
from laconic.core.errors import ModelError, UsageError
from laconic.factorize import LowRankPlus
from laconic.prune.weights import CompensatedSparsity, MaskThen
from laconic.quantize import CompensatedRounding, RoundToNearest, ScalarCodebook
from prune.weights.samples import LAYERS, evidence_of

RESIDUALS: dict[str, Encoder] = {
    "rounding": RoundToNearest(bits=3),
    "compensated rounding": CompensatedRounding(bits=2),
    "sparse": CompensatedSparsity(sparsity=0.8, half=True),
    "mask, then grid": MaskThen(
        mask=CompensatedSparsity(sparsity=0.5), then=CompensatedRounding(bits=4, keep_zeros=True)
    ),
}
LARGE = Layer(parameter="fc.weight", kind="linear", shape=(48, 64))


class Nothing:
    def encode(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> Coding:
        return Dense.of(torch.zeros_like(weight))


def weight_of(layer: Layer) -> Tensor:
    """With a few directions that are larger than all others."""
    generator = torch.Generator().manual_seed(0)
    groups, outputs, inputs = layer.matrix_shape
    strong = torch.randn(groups, outputs, 3, generator=generator) @ torch.randn(groups, 3, inputs, generator=generator)
    return layer.weight(strong + 0.5 * torch.randn(groups, outputs, inputs, generator=generator))


def error(coding: Coding, weight: Tensor, seen: LayerEvidence) -> float:
    change = seen.layer.matrix((coding.decode() - weight).double())
    passed = change @ seen.A if seen.A.dim() == 3 else change * seen.A[:, None, :]
    return float((passed * change).sum())


@pytest.mark.parametrize("residual", RESIDUALS.values(), ids=RESIDUALS)
def test_it_is_nearer_than_the_residual_alone_and_rounds_bring_it_nearer(residual: Encoder) -> None:
    weight, seen = weight_of(LARGE), evidence_of(LARGE, gradients=False)
    alone = error(residual.encode(weight, LARGE, seen), weight, seen)
    once, more = (
        error(LowRankPlus(residual=residual, rank=4, rounds=rounds).encode(weight, LARGE, seen), weight, seen)
        for rounds in (0, 3)
    )
    assert once < 0.95 * alone
    assert more <= once


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_the_product_is_the_best_of_its_rank_for_every_kind_of_layer(layer: Layer) -> None:
    """By the singular value decomposition of the matrix times a root of the second moment."""
    weight, seen = weight_of(layer), evidence_of(layer, gradients=False)
    if min(layer.matrix_shape[1:]) == 1:
        with pytest.raises(UsageError, match="expected fewer than 1, the rank of the layer"):
            LowRankPlus(residual=Nothing(), rank=1).coding(weight, layer, seen)
        return
    found = LowRankPlus(residual=Nothing(), rank=1, rounds=0).coding(weight, layer, seen)
    A = seen.A if seen.A.dim() == 3 else seen.A.diag_embed()
    values = torch.linalg.svdvals(layer.matrix(weight.double()) @ torch.linalg.cholesky(A))
    least, whole = float(values[:, 1:].square().sum()), float(values.square().sum())
    assert error(found, weight, seen) <= least * 1.001 + 1e-6 * whole
    assert error(found, weight, seen) >= least * 0.999 - 1e-6 * whole


def test_without_evidence_all_inputs_count_alike() -> None:
    weight = weight_of(LARGE)
    found = LowRankPlus(residual=Nothing(), rank=3, rounds=0).coding(weight, LARGE)
    expected = torch.linalg.svdvals(weight.double())[3:].square().sum()
    assert float((found.decode() - weight).double().square().sum()) == pytest.approx(float(expected), rel=1e-3)


def test_weights_beyond_half_precision_keep_their_size() -> None:
    for size in (1e-7, 1e7):
        weight = size * weight_of(LARGE)
        found = LowRankPlus(residual=RoundToNearest(bits=4), rank=4).encode(weight, LARGE)
        assert float((found.decode() - weight).norm() / weight.norm()) < 0.1


def test_a_model_takes_it_as_any_coding(tmp_path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 48), nn.ReLU(), nn.Linear(48, 8)).eval()
    layer = Layer(parameter="0.weight", kind="linear", shape=(48, 32))
    edit = LowRankPlus(residual=ScalarCodebook(bits=2), rank=2).edit(model[0].weight, layer)
    plan = laconic.Plan.of([edit])
    plan.save(tmp_path)
    assert laconic.Plan.load(tmp_path) == plan
    assert torch.equal(laconic.apply(model, plan)[0].weight, edit.coding.decode())


def test_what_is_outside_its_domain_is_refused() -> None:
    weight, four = weight_of(LARGE), RoundToNearest(bits=4)
    with pytest.raises(UsageError, match="rank: got 0"):
        LowRankPlus(residual=four, rank=0)
    with pytest.raises(UsageError, match="rounds: got -1"):
        LowRankPlus(residual=four, rounds=-1)
    with pytest.raises(UsageError, match="fewer than 48"):
        LowRankPlus(residual=four, rank=48).encode(weight, LARGE)
    with pytest.raises(UsageError, match="a sum smaller than the layer"):
        LowRankPlus(residual=Nothing(), rank=2).encode(weight, LARGE)
    weight[0, 0] = torch.inf
    with pytest.raises(ModelError, match=r"fc\.weight: holds NaN"):
        LowRankPlus(residual=four).encode(weight, LARGE)
