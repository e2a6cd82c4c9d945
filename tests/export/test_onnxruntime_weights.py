"""Integer weights take few bytes in the file and are exact where they are decoded."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from export.samples import (
    TASK,
    Convolutional,
    Text,
    batch_of,
    exported,
    grid,
    lively,
    recoded,
    recoded_in_turn,
    rounded,
    text_batch,
)
from laconic.core.apply import apply
from laconic.core.bits import pack
from laconic.core.edit import Recode
from laconic.core.plan import Plan
from laconic.export.onnxruntime import export
from laconic.export.onnxruntime.functions import unpack


class Mixed(nn.Module):
    """Every kind of weight: an embedding, convolutions, linear layers with and without a sequence, a bare parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.widen = nn.Conv1d(6, 8, 3, padding=1)
        self.norm = nn.BatchNorm1d(8)
        self.raise_ = nn.ConvTranspose1d(8, 6, 2, groups=2)
        self.settled = nn.BatchNorm1d(6)
        self.each = nn.Linear(6, 7)
        self.bare = nn.Parameter(torch.randn(7, 5))
        self.last = nn.Linear(5, 3)
        lively(self)

    def forward(self, ids: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.widen(self.embedding(ids).mT)))
        x = self.each(self.settled(self.raise_(x)).mT) @ self.bare
        return self.last(x.mean(1))


KINDS = (
    {"bits": 2},
    {"bits": 3, "asymmetric": True},
    {"bits": 4, "group_size": 4},
    {"bits": 5, "axis": None},
    {"bits": 6, "group_size": 5, "asymmetric": True, "axis": 1},
    {"bits": 7, "axis": None, "asymmetric": True},
    {"bits": 8},
    {"bits": 8, "asymmetric": True, "group_size": 3},
)


@pytest.mark.parametrize("start", [0, 2, 4, 6])
def test_weights_of_any_grid_compute_what_pytorch_computes(start, tmp_path):
    model, batch = Mixed(), TASK.split(torch.randint(0, 11, (2, 9)))
    pair = exported(model, recoded_in_turn(model, KINDS, start), batch, tmp_path)
    assert pair.error(batch) < 2e-6
    assert pair.exported.left_float == {}
    assert pair.exported.left_whole == {}
    holders = {value.name for value in onnx.load(tmp_path / "model.onnx").graph.initializer}
    assert {f"{name}.codes" for name, p in model.named_parameters() if p.dim() > 1} <= holders
    assert not any(name in holders for name, p in model.named_parameters() if p.dim() > 1)


@given(bits=st.integers(2, 7), codes=st.lists(st.integers(0, 127), min_size=1, max_size=40), signed=st.booleans())
def test_unpacking_in_the_runtime_undoes_packing(bits, codes, signed):
    unsigned = torch.tensor(codes, dtype=torch.uint8) % 2**bits
    lowest = -(2 ** (bits - 1)) if signed else 0
    octets = pack(unsigned, bits).numpy()
    got = run_function(unpack(bits, lowest), np.pad(octets, (0, -len(octets) % bits)))
    assert got.dtype == np.int8
    assert (got.flatten()[: len(codes)] == unsigned.numpy().astype(int) + lowest).all()


def run_function(function: ir.Function, *arrays: np.ndarray) -> np.ndarray:
    inputs = [
        ir.Value(name=f"x{i}", shape=ir.Shape(a.shape), type=ir.TensorType(ir.DataType.from_numpy(a.dtype)))
        for i, a in enumerate(arrays)
    ]
    node = ir.node(function.name, inputs, domain=function.domain)
    node.outputs[0].name = "y"
    graph = ir.Graph(inputs, node.outputs, nodes=[node], opset_imports={"": 21, function.domain: 1}, name="g")
    content = ir.to_proto(ir.Model(graph, ir_version=10, functions=[function])).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session.run(None, {f"x{i}": a for i, a in enumerate(arrays)})[0]


def wide_network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 96, 3), nn.ReLU(), nn.Flatten(), nn.Linear(1536, 40)
    )


def test_four_bit_weights_take_an_eighth_of_the_file_also_under_integer_kernels(tmp_path):
    model, batch = wide_network(), batch_of(2, 3, 8, 8)
    original = export(model, Plan(), TASK, batch, tmp_path / "original.onnx")
    plan = recoded(model, 4) + rounded(model, batch, ("0:input", "2:input", "5:input"))
    pair = exported(model, plan, batch, tmp_path)
    assert set(pair.exported.integer) == {"0.weight", "2.weight", "5.weight"}
    assert pair.exported.size_bytes == (tmp_path / "model.onnx").stat().st_size
    assert pair.exported.size_bytes < original.size_bytes / 7


def test_a_tied_weight_is_in_the_file_once(tmp_path):
    tied, batch = Text(), text_batch()
    pair = exported(tied, recoded(tied), batch, tmp_path)
    untied = Text(tied=False)
    apart = export(apply(untied, recoded(untied)), recoded(untied), TASK, batch, tmp_path / "untied.onnx")
    assert apart.size_bytes - pair.exported.size_bytes >= 50 * 16
    assert pair.exported.kernels["embedding.weight"] == "Gather, MatMul"
    assert pair.error(batch) < 1e-6


def test_a_plan_may_name_a_tied_weight_by_any_of_its_names(tmp_path):
    model, batch = Text(), text_batch()
    plan = Plan((Recode("head.weight", grid(model.head.weight, 4)),))
    pair = exported(model, plan, batch, tmp_path)
    assert set(pair.exported.kernels) == {"head.weight"}
    assert pair.error(batch) < 1e-6


class Tables(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(30, 12) for _ in range(3))

    def forward(self, ids: Tensor) -> Tensor:
        return torch.cat([table(ids) for table in self.tables], -1)


def test_rows_of_an_embedding_are_looked_up_among_the_codes(tmp_path):
    model, ids = Tables(), TASK.split(torch.randint(0, 30, (3, 4)))
    kinds = [{"bits": 8}, {"bits": 4, "axis": None}, {"bits": 3, "group_size": 5, "asymmetric": True}]
    pair = exported(model, recoded_in_turn(model, kinds), ids, tmp_path)
    got, wanted = pair.outputs(ids)
    assert (got == wanted).all()
    assert set(pair.exported.kernels.values()) == {"Gather"}
    looked_up = {n.input[0] for n in onnx.load(tmp_path / "model.onnx").graph.node if n.op_type == "Gather"}
    assert {"tables.0.weight.codes", "tables.0.weight.scale", "tables.2.weight.scale"} <= looked_up


def test_what_is_stored_as_float_numbers_after_all_is_said_with_the_reason(tmp_path):
    model, batch = Convolutional(), batch_of(2, 3, 12, 12)
    bias, stale = Recode("last.bias", grid(model.last.bias, axis=None)), Recode("last.weight", grid(model.last.weight))
    network = apply(model, Plan((bias, stale)))
    with torch.no_grad():
        network.last.weight.add_(0.5)
    found = export(network, Plan((bias, stale)), TASK, batch, tmp_path / "model.onnx")
    assert found.left_whole == {
        "last.bias": "it has one dimension",
        "last.weight": "the network holds other values than its codes stand for",
    }
