import pytest
import torch
from torch import nn
from torch._decomp import decompositions

from laconic.core.plan import Plan
from laconic.core.task import Task
from laconic.export.onnxruntime import export
from laconic.graph import capture
from laconic.graph.recurrent_shapes import recurrent_shapes

LAYERS = {
    "lstm": nn.LSTM(4, 6),
    "lstm both ways, two layers, narrower": nn.LSTM(
        4, 6, num_layers=2, bidirectional=True, batch_first=True, proj_size=3
    ),
    "gru": nn.GRU(4, 6, bidirectional=True, batch_first=True),
    "tanh": nn.RNN(4, 6, num_layers=2, bias=False),
    "relu": nn.RNN(4, 6, nonlinearity="relu", batch_first=True),
}


@pytest.fixture
def stepping_fails(monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("a tracer went through the time steps")

    monkeypatch.setattr(decompositions, "_rnn_helper", fail)


@pytest.mark.usefixtures("stepping_fails")
@pytest.mark.filterwarnings("ignore:LSTM with projections")  # PyTorch says so of its own kernels.
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_shapes_are_those_of_the_layer_and_no_step_is_taken(layer):
    x = torch.randn(2, 2, 4)
    graph = capture(layer.eval(), (x,), dynamic_batch=False)
    (call,) = [node for node in graph.nodes if node.op == "call_function" and ".input" in str(node.target)]
    output, state = layer(x)
    states = state if isinstance(state, tuple) else (state,)
    assert [value.shape for value in call.meta["val"]] == [each.shape for each in (output, *states)]
    torch.testing.assert_close(graph.module()(x)[0], output)


@pytest.mark.usefixtures("stepping_fails")
def test_export_takes_no_step_either(tmp_path):
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.LSTM(4, 6, batch_first=True)

        def forward(self, x):
            return self.rnn(x)[0][:, -1]

    x = torch.randn(8, 300, 4)
    task = Task(evaluate=[(x, torch.zeros(8, dtype=torch.int64))])
    exported = export(Last().eval(), Plan(), task, next(task.batches("evaluate")).first(1), tmp_path / "last.onnx")
    assert exported.size_bytes < 10_000


def test_kernels_are_as_they_were_afterwards_and_tensors_with_values_are_computed():
    before = dict(torch.ops.aten.lstm.input.py_kernels)
    layer, x = nn.LSTM(4, 6).eval(), torch.randn(5, 2, 4)
    expected = layer(x)[0]
    with pytest.raises(KeyError), recurrent_shapes():
        torch.testing.assert_close(layer(x)[0], expected)
        raise KeyError
    assert dict(torch.ops.aten.lstm.input.py_kernels) == before
