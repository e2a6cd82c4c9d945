"""Codes that are mostly alike: the common one is left out of the file, and the runtime puts the others in place."""

from unittest.mock import Mock, patch

import numpy as np
import pytest
import torch
from torch import nn

from export.samples import batch_of, exported, recoded, rounded
from laconic.calibrate import layers
from laconic.core.codings import Half, Sparse
from laconic.core.edit import Recode
from laconic.core.plan import Plan
from laconic.core.task import Batch
from laconic.export.onnxruntime.scattered import AROUND, Scattered
from laconic.prune.weights import MaskThen, SmallestWeights
from laconic.quantize import RoundToNearest

KNOWING = Mock(knows=Mock(return_value=True))


def masked(model: nn.Module, sparsity: float, then) -> Plan:
    technique = MaskThen(mask=SmallestWeights(sparsity=sparsity), then=then)
    weights = dict(model.named_parameters())
    return Plan.of(technique.edit(weights[layer.parameter], layer) for layer in layers(model))


class Looked(nn.Module):
    """Rows of a table, a convolution over them, a linear layer whose width is no multiple of eight."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(37, 60)
        self.conv = nn.Conv1d(60, 45, 3)
        self.last = nn.Linear(45, 33)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.last(self.conv(self.table(ids).transpose(1, 2)).relu().amax(2))


@pytest.mark.parametrize("then", [RoundToNearest(bits=3), RoundToNearest(bits=4)])
def test_masked_weights_take_fewer_bytes_and_compute_the_same(then, tmp_path) -> None:
    torch.manual_seed(0)
    model, batch = Looked(), Batch(args=(torch.randint(0, 37, (2, 9)),))
    plan = masked(model, 0.9, then)
    pair = exported(model, plan, batch, tmp_path)
    assert pair.exported.left_whole == {} and pair.error(batch) < 1e-5
    stored = sum(edit.coding.size_bytes for edit in plan.recodes)
    with patch.object(Scattered, "of", return_value=None):
        whole = exported(model, plan, batch, tmp_path).exported.size_bytes
    inner = sum(edit.coding.inner.size_bytes for edit in plan.recodes)
    assert whole - pair.exported.size_bytes > 0.8 * (inner - stored) - 2500


def test_half_precision_between_zeros_is_exact(tmp_path) -> None:
    torch.manual_seed(0)
    model, batch = nn.Sequential(nn.Linear(64, 48)), batch_of(3, 64)
    weight = torch.where(torch.rand(48, 64) < 0.8, 0.0, model[0].weight.detach())
    plan = Plan.of([Recode("0.weight", Sparse.of(weight, inner=Half.of(weight)))])
    pair = exported(model, plan, batch, tmp_path)
    assert pair.error(batch) < 1e-6 and pair.exported.size_bytes < 0.5 * 2 * 48 * 64 + 2500


def test_integer_kernels_read_codes_that_were_put_in_place(tmp_path) -> None:
    torch.manual_seed(0)
    model, batch = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8)), batch_of(4, 64)
    with torch.no_grad():
        model[0].weight[torch.rand(64, 64) < 0.8] = 0
    plan = recoded(model) + rounded(model, batch, ["0:input", "2:input", "2:output"])
    found = exported(model, plan, batch, tmp_path)
    assert set(found.exported.integer) == {"0.weight", "2.weight"}
    assert found.error(batch) < 0.02


@pytest.mark.parametrize("share", [0.5, 0.75, 0.99])
def test_what_is_left_out_is_what_there_is_most_of(share: float) -> None:
    random = np.random.default_rng(0)
    codes = np.where(random.random((70, 41)) < share, 5, random.integers(-8, 8, (70, 41))).astype(np.int8)
    found = Scattered.of(codes, 8, KNOWING)
    assert found is not None and found.common == 5 and len(found.rest) % 8 == 0
    whole = np.full(codes.size, 5, np.int8)
    taken = found.gaps.taken().numpy()
    whole[taken] = found.rest[: taken.sum()]
    np.testing.assert_array_equal(whole.reshape(codes.shape), codes)


def test_codes_stay_whole_where_leaving_one_out_is_not_smaller() -> None:
    random = np.random.default_rng(0)
    assert Scattered.of(random.integers(0, 8, 4096).astype(np.int8), 3, KNOWING) is None
    assert Scattered.of(np.zeros(AROUND // 2, np.int8), 8, KNOWING) is None
    few = np.where(random.random(4096) < 0.8, 0, 3).astype(np.int8)
    assert Scattered.of(few, 3, KNOWING) is not None
    assert Scattered.of(few, 3, Mock(knows=Mock(return_value=False))) is None  # only this one would need the operators
    assert Scattered.of(np.zeros(4096, np.int8), 8, KNOWING) is None  # nothing would be left to place
