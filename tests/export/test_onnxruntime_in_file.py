"""What weights take in a file is known before it is written."""

import pytest
import torch
from torch import nn

from export.samples import batch_of, exported
from export.test_onnxruntime_scattered import masked
from laconic.calibrate import layers
from laconic.core.codings import Dense
from laconic.core.plan import Plan
from laconic.export.onnxruntime.in_file import in_file, together
from laconic.quantize import RoundToNearest, ScalarCodebook


def stack() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(96, 90), nn.ReLU(), nn.Linear(90, 61), nn.ReLU(), nn.Linear(61, 33))


def coded(model: nn.Module, technique) -> Plan:
    weights = dict(model.named_parameters())
    return Plan.of(technique.edit(weights[layer.parameter], layer) for layer in layers(model))


@pytest.mark.parametrize("what", [RoundToNearest(bits=3), ScalarCodebook(bits=2), 0.9])
def test_the_file_is_as_large_as_was_said_of_its_weights(what, tmp_path) -> None:
    model, batch = stack(), batch_of(2, 96)
    plan = masked(model, what, RoundToNearest(bits=4)) if isinstance(what, float) else coded(model, what)
    floats = exported(model, Plan(), batch, tmp_path).exported.size_bytes
    numbers = 4 * sum(edit.coding.decode().numel() for edit in plan.recodes)
    file = exported(model, plan, batch, tmp_path).exported.size_bytes
    assert abs(floats - numbers + together(plan.recodes).total - file) < 40 * len(plan.recodes)
    assert sum(edit.coding.size_bytes for edit in plan.recodes) + 250 * len(plan.recodes) < together(plan.recodes).own


def test_functions_are_counted_once_and_what_has_no_codes_takes_four_bytes_a_number() -> None:
    plan = coded(stack(), RoundToNearest(bits=3))
    each = [in_file(edit.parameter, edit.coding) for edit in plan.recodes]
    assert together(plan.recodes).shared == each[0].shared == each[1].shared and len(each[0].shared) == 2
    assert together(plan.recodes).total == sum(one.own for one in each) + sum(each[0].shared.values())
    assert in_file("w", Dense.of(torch.zeros(3, 5))).total == 60
