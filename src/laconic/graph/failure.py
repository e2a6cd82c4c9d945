"""Why a model could not be captured, in one line that shows the user's own code."""

from __future__ import annotations

import linecache
import re
import sysconfig
import traceback
from pathlib import Path

import torch

from laconic.core.errors import ModelError

TORCH_FOLDER = str(Path(torch.__file__).parent)
OWN_FOLDER = str(Path(__file__).parents[1])
PYTHON_FOLDER = sysconfig.get_path("stdlib")
PLACE = re.compile(r'File "([^"]+)", line (\d+)')
BRANCH = ("it decides by the values of a tensor", "Use torch.where or torch.cond, or decide outside forward.")
NUMBER = ("it turns a tensor's value into a Python number", "Keep it a tensor, or compute the number outside forward.")
PACKED = ("its weights are packed by PyTorch's quantisation", "Pass the network as it was before that.")
ABSENT = (
    "there is None where a plain call has a value, since its code goes another way when it is traced",
    "Pass the optional inputs that it fills in by itself, such as attention_mask.",
)
NUMPY = ("it leaves torch for numpy", "Write it with torch operations.")
SEQUENCES = (
    "PyTorch does not export packed sequences",
    "Run the layer on padded sequences, and take each one's last step by its length with gather.",
)
KNOWN_CAUSES = (
    ("quantized.LinearPackedParams", PACKED),
    ("quantized.Conv", PACKED),
    ("Could not extract specialized integer", NUMBER),
    ("Could not guard on data-dependent expression", BRANCH),
    ("Data-dependent branching", BRANCH),
    (".item()", NUMBER),
    ("aten._local_scalar_dense", NUMBER),
    (".numpy()", NUMPY),
    ("numpy", NUMPY),
    ("'NoneType' object", ABSENT),
)


def cannot_export(model: str, failures: list[Exception]) -> ModelError:
    """Returns the error for a model that runs but cannot be exported.

    Args:
        model: the class name.
        failures: what each attempt raised, in order; the first that points into the user's code is shown.
    """
    shown = next((e for e in failures if user_line(e)), failures[0])
    cause, mend = _cause(shown)
    return ModelError(f"capture: {model} cannot be exported{_at(shown)}: {cause}. {mend}")


def does_not_run(model: str, failure: Exception) -> ModelError:
    """Returns the error for a model that fails on its example inputs without any export."""
    return ModelError(
        f"capture: {model} fails on the example inputs{_at(failure)}: {first_line(failure)}. "
        "Pass inputs that the model accepts."
    )


def user_line(error: Exception) -> tuple[str, int] | None:
    """Returns file and line of the innermost frame that is neither PyTorch's nor ours, or None."""
    frames = [(f.filename, f.lineno or 0) for f in traceback.extract_tb(error.__traceback__)]
    named = [(name, int(line)) for name, line in PLACE.findall(str(error))]
    return next((place for place in [*reversed(named), *reversed(frames)] if is_users(place[0])), None)


def is_users(file: str) -> bool:
    """Whether a file is neither PyTorch's, Python's nor ours."""
    if file.startswith(PYTHON_FOLDER) and "site-packages" not in file:
        return False
    return not file.startswith((TORCH_FOLDER, OWN_FOLDER, "<")) and "importlib" not in file


def _at(error: Exception) -> str:
    return at(user_line(error))


def at(place: tuple[str, int] | None) -> str:
    """Returns how a message says where something is, with the line itself; nothing where that is not known."""
    return "" if place is None else f" at {place[0]}:{place[1]} `{linecache.getline(*place).strip()}`"


def _cause(error: Exception) -> tuple[str, str]:
    text = str(error)
    if _packs_sequences(error):
        return SEQUENCES
    for sign, known in KNOWN_CAUSES:
        if sign in text:
            return known
    return first_line(error), "Rewrite this line so that torch.export can trace it."


def _packs_sequences(error: Exception) -> bool:
    """Whether it is the packing, or a recurrent layer that reads a size from what it was given packed."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = any(frame.filename.endswith(str(Path("modules", "rnn.py"))) for frame in frames)
    return "pack_padded_sequence" in _at(error) or (inside and "failed to unpack the object" in str(error))


def first_line(error: Exception) -> str:
    """Returns what an error says, without what follows its first line; its class where it says nothing."""
    text = str(error).strip()
    return (text.splitlines()[0] if text else type(error).__name__).rstrip(".")
