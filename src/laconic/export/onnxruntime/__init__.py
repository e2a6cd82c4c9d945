"""Models as ONNX files for ONNX Runtime, with integer weights and integer kernels."""

from laconic.export.onnxruntime.exporting import Exported, export
from laconic.export.onnxruntime.session import Session

__all__ = ["Exported", "Session", "export"]
