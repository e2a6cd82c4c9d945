"""`laconic bench` on models that leave a size open."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, save

from laconic.cli.timing import _inputs, _resized
from laconic.core.errors import UsageError


@pytest.fixture
def model(tmp_path: Path) -> Path:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "length", 3]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "open", values[:1], values[1:])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), tmp_path / "open.onnx")
    return tmp_path / "open.onnx"


def test_inputs_are_made_up_at_the_size_that_is_named(model: Path) -> None:
    assert [array.shape for array in _inputs([model], 2, {"length": 5})] == [(2, 5, 3)]


def test_test_vectors_are_cut_or_repeated_to_the_size_that_is_named(model: Path) -> None:
    x = np.arange(12.0).reshape(1, 4, 3)
    assert np.array_equal(_resized(model, [x], {"length": 2})[0], x[:, :2])
    assert np.array_equal(_resized(model, [x], {"length": 6})[0], np.concatenate([x, x[:, :2]], 1))


def test_a_size_that_is_open_or_not_there_is_said(model: Path) -> None:
    with pytest.raises(UsageError, match="Say --at length=64, or name an artifact"):
        _inputs([model], 2, {})
    with pytest.raises(UsageError, match="--at: got 'width'; expected one of length for"):
        _inputs([model], 2, {"width": 5})
