"""Every kind of coding, exported: it computes what PyTorch computes, and is in the file packed, or that is said."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import onnx
import torch
from torch import nn

from export.samples import TASK, batch_of, exported, grid, rounded
from export.test_onnxruntime_weights import Mixed, Tables
from laconic.calibrate import Encoder, layers
from laconic.core.codings import ALL, Dense, Half, Zipped
from laconic.core.edit import Recode
from laconic.core.formats import BINARY, NF4
from laconic.core.plan import Plan
from laconic.factorize import LowRankPlus
from laconic.prune.weights import MaskThen, SmallestWeights
from laconic.quantize import RoundToNearest, RoundToValues, ScalarCodebook
from laconic.share import HashedSharing, SparseDictionary


class As:
    """Codes a weight as a kind that no technique of its own makes."""

    def __init__(self, kind: type[Dense] | type[Half] | type[Zipped]) -> None:
        self.kind = kind

    def encode(self, weight, layer, evidence=None):
        return Zipped.of(grid(weight, 4)) if self.kind is Zipped else self.kind.of(weight)


HALF_GONE = SmallestWeights(sparsity=0.5)
# Technique, and why it is not in the file as codes.
TECHNIQUES: dict[str, tuple[Encoder, str]] = {
    "affine": (RoundToNearest(bits=4), ""),
    "codebook": (ScalarCodebook(bits=2), ""),
    "dense": (As(Dense), ""),
    "dictionary": (SparseDictionary(atoms=2, length=2, nonzeros=1), "no dictionary coding"),
    "half": (As(Half), ""),
    "hashed": (HashedSharing(compression=2), "no hashed coding"),
    "low_rank_sum": (LowRankPlus(residual=RoundToNearest(bits=4), rank=1), ""),
    "sparse": (HALF_GONE, "no sparse coding"),
    "values": (RoundToValues(format=NF4), ""),
    "zipped": (As(Zipped), ""),
    "low rank and half": (LowRankPlus(residual=As(Half), rank=1), ""),
    "low rank and a table": (LowRankPlus(residual=RoundToValues(format=NF4), rank=1), ""),
    "low rank and zeros": (LowRankPlus(residual=HALF_GONE, rank=1), "no sparse coding"),
    "zeros and integers": (MaskThen(mask=HALF_GONE, then=RoundToNearest(bits=4)), ""),
    "zeros and 8-bit integers": (MaskThen(mask=HALF_GONE, then=RoundToNearest(bits=8)), ""),
    "zeros and halves": (SmallestWeights(sparsity=0.5, half=True), ""),
    "zeros and a table": (MaskThen(mask=HALF_GONE, then=RoundToValues(format=NF4, keep_zeros=True)), ""),
    "zeros and a table without zero": (
        MaskThen(mask=HALF_GONE, then=RoundToValues(format=BINARY, keep_zeros=True)),
        "no sparse coding",
    ),
}


class Beside(nn.Module):
    """Layers that all read the same input; their outputs lie side by side."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([part(x).flatten(1) for part in self.parts], 1)


def plan_of(model: nn.Module, names: Sequence[str]) -> Plan:
    """One weight after the other by the next technique."""
    weights, found = dict(model.named_parameters()), []
    for layer, name in zip(layers(model), itertools.cycle(names), strict=False):
        technique = TECHNIQUES[name][0]
        encode = getattr(technique, "coding", technique.encode)  # Whatever it takes: these layers are tiny.
        if min(layer.matrix_shape[1:]) > 1 or not isinstance(technique, LowRankPlus):
            found.append(Recode(layer.parameter, encode(weights[layer.parameter], layer)))
    return Plan.of(found)


def test_each_is_packed_in_the_file_or_said_not_to_be_and_computes_the_same(tmp_path) -> None:
    model, batch = Beside(*(nn.Conv2d(4, 8, 3, groups=2) for _ in TECHNIQUES)), batch_of(2, 4, 5, 5)
    plan = plan_of(model, list(TECHNIQUES))
    pair = exported(model, plan, batch, tmp_path)
    assert pair.error(batch) < 2e-6
    said = {f"parts.{place}.weight": reason for place, (_, reason) in enumerate(TECHNIQUES.values()) if reason}
    assert pair.exported.left_whole == {name: f"ONNX Runtime has {reason}" for name, reason in said.items()}
    stored = {value.name for value in onnx.load(tmp_path / "model.onnx").graph.initializer}
    whole = {edit.parameter for edit in plan.recodes} & stored
    assert whole == {*said, f"parts.{list(TECHNIQUES).index('dense')}.weight"}


def test_every_kind_of_coding_is_among_them() -> None:
    assert {coding.kind for coding in ALL} <= TECHNIQUES.keys()


def test_sums_of_any_kind_of_layer_compute_what_pytorch_computes(tmp_path) -> None:
    model, batch = Mixed(), TASK.split(torch.randint(0, 11, (2, 9)))
    pair = exported(model, plan_of(model, ["low_rank_sum", "low rank and a table"]), batch, tmp_path)
    assert pair.error(batch) < 2e-6 and pair.exported.left_whole == {}


def test_rows_of_tables_are_looked_up_among_what_is_stored(tmp_path) -> None:
    model, ids = Tables(), TASK.split(torch.randint(0, 30, (3, 4)))
    pair = exported(model, plan_of(model, ["half", "low_rank_sum", "zeros and integers"]), ids, tmp_path)
    got, wanted = pair.outputs(ids)
    torch.testing.assert_close(torch.from_numpy(got), torch.from_numpy(wanted), rtol=1e-6, atol=1e-6)
    graph = onnx.load(tmp_path / "model.onnx").graph
    looked_up = {node.input[0] for node in graph.node if node.op_type == "Gather"}
    assert {"tables.0.weight.half", "tables.1.weight.left", "tables.2.weight.scale"} <= looked_up
    assert set(pair.exported.kernels.values()) == {"Gather"}


def test_integer_kernels_read_zeros_among_integers_and_why_not_other_codings_is_said(tmp_path) -> None:
    model, batch = nn.Sequential(*(nn.Linear(16, 16, bias=False) for _ in range(3))), batch_of(4, 16)
    sites = rounded(model, batch, ["0:input", "1:input", "2:input"])
    pair = exported(
        model, plan_of(model, ["zeros and 8-bit integers", "half", "low_rank_sum"]) + sites, batch, tmp_path
    )
    assert pair.error(batch) < 2e-2
    assert "0.weight" in pair.exported.integer and "0.weight" not in pair.exported.left_float
    assert pair.exported.left_float["1.weight"].startswith("its values are float numbers")
    assert pair.exported.left_float["2.weight"].startswith("its values are sums")


def test_a_file_of_sums_and_zeros_takes_few_bytes(tmp_path) -> None:
    model, batch = Beside(*(nn.Linear(96, 96, bias=False) for _ in range(3))), batch_of(2, 96)
    found = exported(model, plan_of(model, ["low_rank_sum", "zeros and integers", "zeros and halves"]), batch, tmp_path)
    integers, halves, factors = 96 * 96 // 2, 96 * 96 * 2, 2 * 2 * 96
    assert found.exported.size_bytes < 2 * integers + halves + factors + 2 * 4 * 96 + 4000
