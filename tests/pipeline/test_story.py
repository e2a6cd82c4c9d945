from types import SimpleNamespace

import torch
from torch import nn

from laconic.core.task import Task
from laconic.pipeline.kernels import Kernels
from laconic.pipeline.planning import coded_bytes
from laconic.pipeline.story import _layers
from laconic.prune import prune, remove_blocks
from laconic.quantize import quantize


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 8)

    def forward(self, x):
        return x + self.inner(x)


X = torch.randn(16, 8)
TASK = Task(evaluate=[(X, torch.zeros(16, dtype=torch.int64))])
AS_MEANT = Kernels(kernels={}, left_float={}, left_whole={}, any_batch=True)


def rows(model, network, plan):
    return {row.name: row for row in _layers(SimpleNamespace(model=model), network, plan, AS_MEANT)}


def test_a_removed_layer_has_no_bytes_left():
    model = nn.Sequential(Residual(), Residual(), nn.Linear(8, 3)).eval()
    found = remove_blocks(model, X, names=["1"])
    shown = rows(model, found.model, found.plan)
    assert (shown["1.inner"].done, shown["1.inner"].bytes_after) == ("removed", 0)
    assert shown["0.inner"].bytes_after == shown["0.inner"].bytes_before == 4 * 72


def test_bytes_of_layers_that_were_cut_and_coded_add_up_to_those_of_the_result():
    model = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.LayerNorm(12), nn.Linear(12, 3)).eval()
    narrow = prune(model, X, ratio=0.5)
    codes = quantize(narrow.model, TASK, bits=4)
    plan = narrow.plan + codes
    shown = rows(model, narrow.model, plan)
    assert sum(row.bytes_after for row in shown.values()) == coded_bytes(narrow.model, codes)
    assert shown["2"].bytes_after < shown["2"].bytes_before
