"""Weights whose values come from tables take few bytes in the file, and are exact where they are decoded."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from export.samples import TASK, batch_of, exported, rounded
from export.test_onnxruntime_weights import Mixed
from laconic.calibrate import layers
from laconic.core.codings import Zipped
from laconic.core.edit import Recode
from laconic.core.formats import BINARY, FP4_E2M1, FP6_E3M2, FP8_E4M3, NF4, TERNARY, Format, additive_power_of_two
from laconic.core.plan import Plan
from laconic.quantize import MXFP4, MXFP8, RoundToValues, ScalarCodebook, VectorCodebook

TECHNIQUES = (
    RoundToValues(format=NF4),
    RoundToValues(format=BINARY, per=5),
    ScalarCodebook(bits=3),
    RoundToValues(format=TERNARY, per="tensor"),
    RoundToValues(format=Format("mine", (-1.0, -0.2, 0.1, 0.7, 1.5)), per=4),
    VectorCodebook(bits=2, length=4),
    MXFP4,
    ScalarCodebook(bits=1, rows=2, scaled=False),
    RoundToValues(format=FP6_E3M2),
    VectorCodebook(bits=1, length=3, stages=2),
    RoundToValues(format=FP8_E4M3, per=3),
    RoundToValues(format=additive_power_of_two(5)),
    VectorCodebook(bits=2, length=2, scaled=False),
    MXFP8,
)


def coded(model: nn.Module, *techniques) -> Plan:
    """One weight after the other by the next technique."""
    weights = dict(model.named_parameters())
    known = {layer.parameter: layer for layer in layers(model)}
    return Plan.of(
        technique.edit(weights[name], known[name])
        for name, technique in zip(known, (techniques * len(known))[: len(known)], strict=True)
    )


@pytest.mark.parametrize("start", [0, 6])
def test_weights_of_any_table_compute_what_pytorch_computes(start: int, tmp_path) -> None:
    model, batch = Mixed(), TASK.split(torch.randint(0, 11, (2, 9)))
    plan = coded(model, *TECHNIQUES[start:], *TECHNIQUES[:start])
    pair = exported(model, plan, batch, tmp_path)
    assert pair.error(batch) < 2e-6
    assert pair.exported.left_whole == {}
    stored = {value.name for value in onnx.load(tmp_path / "model.onnx").graph.initializer}
    assert not stored & {edit.parameter for edit in plan.recodes}


def test_codings_that_were_packed_for_the_disk_are_in_the_file_as_codes(tmp_path) -> None:
    model, batch = nn.Sequential(nn.Linear(64, 64)), batch_of(3, 64)
    plan = coded(model, ScalarCodebook(bits=2))
    zipped = Plan.of(Recode(edit.parameter, Zipped.of(edit.coding)) for edit in plan.recodes)
    size = exported(model, plan, batch, tmp_path).exported.size_bytes
    packed = exported(model, zipped, batch, tmp_path).exported
    assert packed.left_whole == {} and packed.size_bytes == size


class Beside(nn.Module):
    """Layers that all read the same input; their outputs lie side by side."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([layer(x).flatten(1) for layer in self.layers], 1)


def test_the_runtime_decodes_bit_for_bit(tmp_path) -> None:
    model = Beside([nn.Conv2d(5, 6, (1, 3), bias=False) for _ in TECHNIQUES])
    plan = coded(model, *TECHNIQUES)
    # One input at a time is one, so that each answer is one weight.
    eye = torch.eye(15).view(15, 5, 1, 3)
    mine = exported(model, plan, TASK.split(eye), tmp_path).session.run([eye.numpy()])
    found = mine.reshape(15, len(TECHNIQUES), 6).transpose(1, 2, 0)
    for values, edit in zip(found, plan.recodes, strict=True):
        assert np.array_equal(values, edit.coding.decode().reshape(6, 15).numpy()), edit.coding


SIZED = {
    RoundToValues(format=BINARY): 1,
    RoundToValues(format=TERNARY): 2,
    ScalarCodebook(bits=3): 3,
    RoundToValues(format=NF4): 4,
    MXFP4: 4.25,
    RoundToValues(format=FP8_E4M3): 8,
    VectorCodebook(bits=8, length=4): 2,
    VectorCodebook(bits=8, length=8): 1,
}


def test_the_file_is_hardly_larger_than_what_the_codings_declare(tmp_path) -> None:
    model = Beside([nn.Linear(256, 512, bias=False) for _ in SIZED])
    plan = coded(model, *SIZED)
    size = exported(model, plan, batch_of(2, 256), tmp_path).exported.size_bytes
    declared = [edit.coding.size_bytes for edit in plan.recodes]
    for codes_bits, total in zip(SIZED.values(), declared, strict=True):
        assert total == pytest.approx(256 * 512 * codes_bits / 8, abs=5200)  # scales and words
    # Beside them: the graph, and one table a known format, that of eight-bit floats being the largest.
    assert sum(declared) < size < sum(declared) + 10_000
    assert size < 0.11 * (4 * 256 * 512 * len(SIZED))
    in_file = Counter()
    for value in onnx.load(tmp_path / "model.onnx").graph.initializer:
        in_file[".".join(value.name.split(".")[:3])] += len(value.raw_data) or len(value.int32_data)
    for edit in plan.recodes:
        assert edit.coding.size_bytes <= in_file[edit.parameter] <= edit.coding.size_bytes + 64, edit


def test_one_table_serves_every_layer(tmp_path) -> None:
    model = nn.Sequential(nn.Linear(8, 8, bias=False), nn.ReLU(), nn.Linear(8, 8, bias=False))
    exported(model, coded(model, RoundToValues(format=FP8_E4M3)), batch_of(2, 8), tmp_path)
    tables = [v for v in onnx.load(tmp_path / "model.onnx").graph.initializer if list(v.dims) == [253]]
    assert len(tables) == 1


def test_only_the_rows_that_are_looked_up_are_decoded(tmp_path) -> None:
    techniques = (
        RoundToValues(format=NF4, per=4),
        RoundToValues(format=FP4_E2M1, per="tensor"),
        MXFP4,
        ScalarCodebook(bits=2, rows=3),
        VectorCodebook(bits=2, length=5),
        VectorCodebook(bits=2, length=2, stages=2),
    )
    model, batch = Beside([nn.Embedding(50, 12) for _ in techniques]), TASK.split(torch.randint(0, 50, (2, 4)))
    plan = coded(model, *techniques)
    pair = exported(model, plan, batch, tmp_path)
    assert pair.error(batch) == 0
    assert [pair.exported.kernels[edit.parameter] for edit in plan.recodes] == ["Gather"] * len(techniques)
    taken = [node for node in onnx.load(tmp_path / "model.onnx").graph.node if node.op_type == "Gather"]
    by_rows = {node.input[0] for node in taken if node.input[1] == "x"}
    assert len(by_rows) >= len(techniques)


def test_a_layer_with_rounded_input_says_why_it_runs_in_float(tmp_path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 2))
    batch = batch_of(2, 3, 12, 12)
    plan = coded(model, RoundToValues(format=NF4)) + rounded(model, batch, ["0:input", "1:output"])
    pair = exported(model, plan, batch, tmp_path)
    assert pair.exported.left_float["0.weight"].startswith("its values come from a table")
    assert pair.error(batch) < 2e-2
