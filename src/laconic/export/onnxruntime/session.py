"""An exported model in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import onnxruntime

from laconic.core.errors import ArtifactError, ExportError, check_whole, invalid

PROVIDERS = ["CPUExecutionProvider"]
_FATAL = 4
Array = np.ndarray[Any, np.dtype[Any]]


@final
class Session:
    """A loaded model as something that can be measured: `run(arrays) -> logits`.

    Args:
        model: an ONNX file, or its content.
        threads: inside operators; operators run one after another.
        name: what errors and reports call it.

    Raises:
        ArtifactError: the file is missing or damaged, or the runtime refuses it.
    """

    def __init__(self, model: str | Path | bytes, *, threads: int = 1, name: str = "ONNX Runtime") -> None:
        check_whole("Session.threads", threads, 1)
        self.name = name
        self.threads = threads
        source = model if isinstance(model, bytes) else str(model)
        try:
            self._session = onnxruntime.InferenceSession(source, options(threads), providers=PROVIDERS)
        except Exception as error:  # the runtime's errors have no common class of their own
            what = name if isinstance(model, bytes) else str(model)
            raise ArtifactError(
                f"{what}: cannot be loaded by ONNX Runtime ({said(error)}). Export it again."
            ) from error
        self.input_names = tuple(value.name for value in self._session.get_inputs())

    def run(self, inputs: Sequence[Array]) -> Array:
        """Returns the logits `[samples, ...]`.

        Args:
            inputs: arrays in the order of `Batch.inputs`.

        Raises:
            ExportError: the runtime fails on them.
        """
        if len(inputs) != len(self.input_names):
            wanted = ", ".join(self.input_names)
            raise invalid("Session.run.inputs", len(inputs), f"{len(self.input_names)} arrays: {wanted}")
        try:
            found: Array = self._session.run(None, dict(zip(self.input_names, inputs, strict=True)))[0]
        except Exception as error:  # as above
            shapes = ", ".join(f"{a.dtype}{list(a.shape)}" for a in inputs)
            raise ExportError(f"{self.name}: fails on inputs {shapes} ({said(error)}). {self._mend(inputs)}") from error
        return found

    def _mend(self, inputs: Sequence[Array]) -> str:
        """Says what to do about inputs that the model refuses."""
        for wanted, array in zip(self._session.get_inputs(), inputs, strict=True):
            pairs = zip(wanted.shape, array.shape, strict=False)
            if any(isinstance(size, int) and size != found for size, found in pairs):
                return (
                    f"An exported model takes {wanted.name} in one size, {wanted.shape}: pad or cut all samples to it."
                )
        return "Pass arrays like those of the export."


def options(threads: int) -> onnxruntime.SessionOptions:
    """Returns options for steady figures: worker threads spin during a call, which is fast, but not beyond it.

    Threads that spin on take the next session's cores; threads that never spin take a fifth longer on small models.
    """
    chosen = onnxruntime.SessionOptions()
    chosen.intra_op_num_threads = threads
    chosen.inter_op_num_threads = 1
    chosen.add_session_config_entry("session.force_spinning_stop", "1")
    chosen.log_severity_level = _FATAL
    return chosen


def said(error: Exception) -> str:
    """Returns what the runtime says about an error, on one line of readable length."""
    return " ".join(str(error).split())[:300].rstrip(".")
