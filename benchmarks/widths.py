"""What a width costs in ONNX Runtime: chains of 3x3 convolutions and of linear layers, one thread, batch 1.

For each width: multiply-accumulates a second relative to width 128, from the best of many interleaved runs and from
their median. 1: a cut to this width saves time in proportion to its MACs; 0.5: it takes twice as long as that.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy
import onnxruntime
from onnx import ModelProto, TensorProto, helper, numpy_helper

import manner

LAYERS, SIDE, TOKENS, OPSET = 6, 16, 128, 17
WIDTHS = (8, 10, 12, 14, 15, 16, 17, 18, 20, 22, 24, 26, 28, 31, 32, 33, 36, 40, 44, 47, 48, 49, 52, 56, 60, 63, 64)
WIDTHS += (65, 68, 72, 80, 88, 95, 96, 97, 100, 104, 112, 120, 124, 127, 128)
ROWS = ("convolution", "linear")


def chain(kind: str, width: int) -> ModelProto:
    """Returns layers of one width, each with a bias and a ReLU behind it."""
    rng = numpy.random.default_rng(0)
    shape = [1, width, SIDE, SIDE] if kind == "convolution" else [TOKENS, width]
    nodes, weights = [], []
    for i in range(LAYERS):
        size = (width, width, 3, 3) if kind == "convolution" else (width, width)
        spread = (9 * width if kind == "convolution" else width) ** -0.5
        weights += [
            numpy_helper.from_array((spread * rng.standard_normal(size)).astype("float32"), f"w{i}"),
            numpy_helper.from_array(rng.standard_normal(width).astype("float32"), f"b{i}"),
        ]
        operator = ("Conv", {"pads": [1] * 4}) if kind == "convolution" else ("Gemm", {"transB": 1})
        nodes.append(helper.make_node(operator[0], [f"x{i}", f"w{i}", f"b{i}"], [f"y{i}"], **operator[1]))
        nodes.append(helper.make_node("Relu", [f"y{i}"], [f"x{i + 1}"]))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x0", f"x{LAYERS}")]
    graph = helper.make_graph(nodes, kind, ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


def session(model: ModelProto) -> onnxruntime.InferenceSession:
    """Returns a session of one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def times(kind: str, rounds: int) -> dict[int, list[float]]:
    """Returns the milliseconds of every run by width; all widths take turns."""
    sessions = {width: session(chain(kind, width)) for width in WIDTHS}
    feeds = {
        width: {"x0": numpy.random.default_rng(1).standard_normal(found.get_inputs()[0].shape).astype("float32")}
        for width, found in sessions.items()
    }
    taken: dict[int, list[float]] = {width: [] for width in WIDTHS}
    for turn in range(rounds + 1):
        for width, found in sessions.items():
            found.run(None, feeds[width])
            start = time.perf_counter()
            found.run(None, feeds[width])
            if turn:
                taken[width].append(1000 * (time.perf_counter() - start))
    return taken


def relative_speed(cost: dict[int, float]) -> dict[int, float]:
    """Returns multiply-accumulates a second, relative to width 128."""
    return {width: round((width / 128) ** 2 * cost[128] / ms, 2) for width, ms in cost.items()}


def main() -> None:
    """Runs the rows."""
    given = manner.options(__doc__ or "", ROWS, seeds=1)
    results: dict[str, Any] = {}
    for row in given.rows:
        taken = times(row, rounds=150)
        best = relative_speed({width: min(found) for width, found in taken.items()})
        median = relative_speed({width: statistics.median(found) for width, found in taken.items()})
        manner.line(row, "best ms", "relative", "by medians")
        for width, found in taken.items():
            manner.line(width, f"{min(found):.4f}", best[width], median[width])
        results[row] = {"speed_of_best": best, "speed_of_medians": median}
    manner.finish(results)


if __name__ == "__main__":
    main()
