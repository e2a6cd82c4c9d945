"""Which kernels ONNX Runtime runs a model with, read from the graph that it makes of it."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

import onnx
import onnx_ir as ir
import onnxruntime

from laconic.core.errors import ExportError
from laconic.export.onnxruntime.session import PROVIDERS, options, said

INTEGER = ("QLinearConv", "QGemm", "QLinearMatMul", "MatMulIntegerToFloat", "MatMulInteger", "DynamicQuantizeMatMul")


def kernels(model: ir.Model, names: Iterable[str]) -> dict[str, str]:
    """Returns the operator that ONNX Runtime runs in the place of some operators.

    Args:
        model: a whole model.
        names: of operators in it.

    Returns:
        name -> operator type; operators that the runtime renamed, which it does to float ones, are left out.

    Raises:
        ExportError: the runtime refuses the model.
    """
    ran = _optimised(ir.to_proto(model).SerializeToString())
    # The runtime adds a suffix to the name of an operator that it fuses others into.
    by_name = {re.sub(r"(_token_\d+)+$", "", node.name): node.op_type for node in ran.graph.node}
    return {name: by_name[name] for name in names if name in by_name}


def _optimised(model: bytes) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimised.onnx"
        chosen = options(threads=1)
        chosen.optimized_model_filepath = str(path)
        try:
            onnxruntime.InferenceSession(model, chosen, providers=PROVIDERS)
        except Exception as error:  # the runtime's errors have no common class of their own
            raise ExportError(
                f"export to ONNX: ONNX Runtime refuses the model ({said(error)}). Keep it in PyTorch."
            ) from error
        return onnx.load(path, load_external_data=False)
