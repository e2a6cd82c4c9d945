import json
import math

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from core.samples import images, net, net_program
from laconic.core.errors import ModelError, UsageError
from laconic.core.program import Program
from laconic.core.rewritten import Rewritten

CPU = torch.device("cpu")
INPUTS = ["tuple", None, [["tuple", None, [None]], ["dict", [], []]]]


class Everything(nn.Module):
    """Calls with every kind of argument."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Tensor, *, mask: Tensor) -> dict[str, Tensor]:
        size = x.shape[0] * 2 - 1
        shifted = self.inner(x) + torch.arange(4) + torch.zeros(4, dtype=torch.float64).to(torch.float32)
        hidden = shifted.masked_fill(mask, -math.inf).clamp_min(-9)[..., 1:3]
        parts = torch.split(torch.nn.functional.gelu(hidden, approximate="tanh"), 1, -1)
        whole = torch.cat([parts[1], parts[0] * size], -1).contiguous(memory_format=torch.contiguous_format)
        return {"half": whole / (size // 2 + 1), "sum": whole.sum((0, 1), dtype=torch.float64)}


def written(model: nn.Module, *args: Tensor, **kwargs: Tensor) -> tuple[GraphModule, Program]:
    shapes = {"x": {0: torch.export.Dim.AUTO}, "mask": None}
    module = torch.export.export(model, args, kwargs, dynamic_shapes=shapes).module(check_guards=False)
    return module, Program.of(module.graph, {}, CPU)


def test_every_kind_of_argument_comes_back() -> None:
    model, x, mask = Everything(), torch.randn(3, 4), torch.tensor([False, True, False, False])
    _, program = written(model, x, mask=mask)
    config = json.loads(json.dumps(program.config()))
    again = Rewritten(model, Program.from_parts(config, {}))
    for n in (3, 5):
        x = torch.randn(n, 4)
        got, expected = again(x, mask=mask), model(x, mask=mask)
        assert got.keys() == expected.keys()
        assert all(torch.equal(got[name], expected[name]) for name in got)


def test_written_again_it_is_the_same() -> None:
    model, x = Everything(), torch.randn(3, 4)
    _, program = written(model, x, mask=torch.zeros(4, dtype=torch.bool))
    again = Program.of(program.graph(model), {}, CPU)
    assert again.config() == program.config()


def test_numbers_that_json_does_not_know_and_devices_come_back() -> None:
    model = nn.Identity()
    calls = (
        *net_program().calls[:1],
        '["a","call_function","aten.full.default",[[2],{"float":"-inf"}],{"items":[["device",{"device":null}]]}]',
        '["b","call_function","aten.ones.default",[[2]],{"items":[["device",{"device":"meta"}],["dtype",{"dtype":"int8"}]]}]',
        '["output","output","output",[[{"node":"a"},{"node":"b"}]],{"items":[]}]',
    )
    program = Program(calls=calls, names=("x",), inputs=INPUTS, outputs=["tuple", None, [None, None]], constants={})
    a, b = Rewritten(model, program)(0)
    assert a.tolist() == [-math.inf, -math.inf] and a.device.type == "cpu"
    assert b.device.type == "meta" and b.dtype == torch.int8


def test_called_modules_are_told() -> None:
    assert net_program().called == {"conv", "norm", "fc1", "fc2"}


def test_what_cannot_be_written_down_is_named() -> None:
    graph = torch.fx.symbolic_trace(nn.ReLU()).graph
    with pytest.raises(ModelError, match="without a structure of inputs"):
        Program.of(graph, {}, CPU)
    module, _ = written(Everything(), torch.randn(3, 4), mask=torch.zeros(4, dtype=torch.bool))
    next(iter(module.graph.find_nodes(op="call_function", target=torch.ops.aten.linear.default))).target = len
    with pytest.raises(ModelError, match=r"linear calls <built-in function len>, which cannot be written down"):
        Program.of(module.graph, {}, CPU)


def changed(line: str) -> Program:
    """`Net`'s program with another call in the place of the first ReLU."""
    content = net_program().config()
    content["calls"][3] = line
    return Program.from_parts(content, net_program().constants)


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "aten.from_file.default",
        "aten.nothing.default",
        "aten.relu",
        "aten.relu.other",
        "x.y.z",
        "__class__.mro.default",
        "operator.call",
        "profiler._record_function_enter_new.default",
    ],
)
def test_only_operators_on_tensors_are_called(target: str) -> None:
    line = json.dumps(["relu", "call_function", target, [{"node": "norm"}], {"items": []}])
    with pytest.raises(UsageError, match="expected an operator on tensors"):
        changed(line).graph(net())


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (["relu", "call_function", "aten.relu.default", [], {"items": [["x=1); evil(", 1]]}], "arguments that it has"),
        (["relu", "get_attr", "conv.nothing", [], {"items": []}], "has no 'conv.nothing'"),
        (["relu", "get_attr", "conv.__class__", [], {"items": []}], "has no 'conv.__class__'"),
        (["relu", "call_module", "relu", [{"node": "norm"}], {"items": []}], "has no 'relu'"),
        (["relu", "call_method", "backward", [{"node": "norm"}], {"items": []}], "known kind of call"),
        (["norm", "get_attr", "conv.weight", [], {"items": []}], "expected a new name"),
        (["relu", "call_function", "aten.relu.default", [{"dtype": "nn"}], {"items": []}], "a dtype of PyTorch"),
    ],
)
def test_calls_that_a_program_may_not_make_are_refused(call: list[object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        changed(json.dumps(call)).graph(net())


@pytest.mark.parametrize("name", ["x): evil(", "lambda", "a b", ""])
def test_only_identifiers_get_into_code(name: str) -> None:
    content = net_program().config()
    with pytest.raises(UsageError, match="expected an identifier"):
        Program.from_parts({**content, "names": [name]}, net_program().constants).graph(Rewritten(net(), net_program()))
    named = ["tuple", None, [["tuple", None, []], ["dict", [name], [None]]]]
    with pytest.raises(UsageError, match="expected an identifier"):
        Program.from_parts({**content, "inputs": named}, {}).graph(Rewritten(net(), net_program()))


def test_sample_computes_what_its_model_computes() -> None:
    model = net()
    expected = model(images()) + net_program().constants["constant_0"]
    assert torch.equal(Rewritten(model, net_program())(images()), expected)
