from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from laconic.calibrate import Layer
from laconic.core.codings import Zipped
from laconic.core.plan import Plan
from laconic.core.task import Batch, Task
from laconic.export.onnxruntime import Session, export
from laconic.export.onnxruntime.kernels import INTEGER
from laconic.export.onnxruntime.layer import FLOAT, Form, LayerShape, form_of, layer_graph
from laconic.export.onnxruntime.layer_times import time_layers
from laconic.quantize import RoundToNearest, RoundToValues, ScalarCodebook

CONV = LayerShape(
    kind="conv", inputs=8, outputs=12, sizes=(1, 6, 6), kernel=(3, 3), stride=(2, 1), padding=(1, 1), dilation=(1, 1)
)
LINEAR = LayerShape(kind="linear", inputs=16, outputs=24, sizes=(3,))
TOKENS = replace(LINEAR, sizes=(1, 5))
TURNED = replace(CONV, kind="conv_transpose", stride=(2, 2))
CODED = [Form(weight="grid", bits=8), Form(weight="grid", bits=3), Form(weight="groups", bits=4), Form(weight="table")]
ROUNDED = Form(weight="grid", bits=8, input_rounded=True, output_rounded=True)


def run(shape: LayerShape, form: Form) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.from_numpy(Session(layer_graph(shape, form)[0]).run([torch.randn(shape.input).numpy()]))


@pytest.mark.parametrize("shape", [CONV, LINEAR, TOKENS, TURNED, replace(CONV, outputs=8, groups=8)])
def test_a_graph_computes_what_the_layer_of_pytorch_computes(shape: LayerShape) -> None:
    torch.manual_seed(0)
    x = torch.randn(shape.input)
    fan_in = torch.Size(shape.weight).numel() // shape.weight[0]
    if shape.kind == "conv_transpose":
        fan_in = shape.inputs * 9
    weight = torch.randn(shape.weight, generator=torch.Generator().manual_seed(0)) / fan_in**0.5
    geometry = (shape.stride, shape.padding)
    expected = {
        "linear": lambda: nn.functional.linear(x, weight),
        "conv": lambda: nn.functional.conv2d(x, weight, None, *geometry, shape.dilation, shape.groups),
        "conv_transpose": lambda: nn.functional.conv_transpose2d(x, weight, None, *geometry),
    }[shape.kind]()
    torch.testing.assert_close(run(shape, FLOAT), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", CODED)
@pytest.mark.parametrize("shape", [CONV, LINEAR, TOKENS, TURNED])
def test_weights_alone_in_few_bits_are_multiplied_by_the_float_kernel_and_nothing_decodes_them_at_work(
    shape: LayerShape, form: Form
) -> None:
    content, kernels = layer_graph(shape, form)
    assert kernels in ("Conv", "Gemm", "MatMul", "ConvTranspose")
    assert len(content) < len(layer_graph(shape, FLOAT)[0])
    times = time_layers({"coded": content, "float": layer_graph(shape, FLOAT)[0]}, 1, 100.0)
    assert times["coded"].operators == times["float"].operators


@pytest.mark.parametrize("shape", [CONV, LINEAR])
def test_rounded_inputs_and_outputs_make_integer_kernels(shape: LayerShape) -> None:
    assert layer_graph(shape, ROUNDED)[1] in INTEGER
    error = (run(shape, ROUNDED) - run(shape, FLOAT).clamp(-4, 127 / 32)).square().mean().sqrt()
    assert 0 < error < 0.05


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize(
    ("module", "inputs", "shape"),
    [
        (nn.Conv2d(8, 12, 3, (2, 1), 1), torch.randn(1, 8, 6, 6), CONV),
        (nn.Linear(16, 24), torch.randn(3, 16), LINEAR),
        (nn.Linear(16, 24), torch.randn(1, 5, 16), TOKENS),
    ],
)
def test_a_layer_alone_meets_the_same_kernel_as_in_an_exported_model(
    module: nn.Module, inputs: torch.Tensor, shape: LayerShape, bits: int, tmp_path: Path
) -> None:
    kind = "conv" if shape.kind == "conv" else "linear"
    layer = Layer(parameter="weight", kind=kind, shape=shape.weight)
    recode = RoundToNearest(bits=bits).edit(module.weight, layer)
    with torch.no_grad():
        module.weight.copy_(recode.coding.decode())
    task, batch = Task(evaluate=[inputs]), Batch(args=(inputs,))
    found = export(module, Plan.of([recode]), task, batch, tmp_path / "model.onnx")
    assert found.kernels["weight"] == layer_graph(shape, Form(weight="grid", bits=bits))[1]


def test_the_form_of_a_coding_says_what_matters_to_a_kernel() -> None:
    weight, layer = torch.randn(4, 16), Layer(parameter="w", kind="linear", shape=(4, 16))
    assert form_of(RoundToNearest(bits=5).encode(weight, layer)) == Form(weight="grid", bits=5)
    assert form_of(RoundToNearest(bits=5, per=4).encode(weight, layer)) == Form(weight="groups", bits=5)
    assert form_of(RoundToNearest(bits=4, symmetric=False).encode(weight, layer)).weight == "groups"
    assert form_of(RoundToValues().encode(weight, layer)).weight == "table"
    assert form_of(Zipped.of(ScalarCodebook(bits=1).encode(weight, layer))).weight == "table"


def test_times_are_those_on_a_machine_of_the_usual_pace() -> None:
    content = layer_graph(CONV, ROUNDED)[0]
    usual, slow = (time_layers({0: content}, 1, pace)[0] for pace in (1.0, 1e9))
    assert slow.inside_us > 1e5 * usual.inside_us  # as if the yardstick usually took a thousand seconds
    assert slow.low_us <= slow.high_us
