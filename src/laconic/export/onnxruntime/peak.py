"""Runs a model a few times and nothing else: its process is measured for peak memory.

    python peak.py MODEL.onnx INPUTS.npz

A script by itself: it imports neither PyTorch nor Laconic, which would weigh more than most models.
"""

from __future__ import annotations

import sys

import numpy as np
import onnxruntime

RUNS = 3


def main(model: str, inputs: str) -> None:
    """Loads a model and runs it on one thread.

    Args:
        model: an ONNX file.
        inputs: an `.npz` file with the arrays in the order of the model's inputs.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    with np.load(inputs) as arrays:
        fed = {value.name: arrays[name] for value, name in zip(session.get_inputs(), arrays.files, strict=True)}
    for _ in range(RUNS):
        session.run(None, fed)


if __name__ == "__main__":
    main(*sys.argv[1:])
