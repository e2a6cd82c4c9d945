"""What a person names on the command line, as objects: a model, its weights, its data."""

from __future__ import annotations

import importlib
import pickle
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from laconic.core.errors import ArtifactError, DataError, LaconicError, ModelError, UsageError, invalid
from laconic.core.files import read_tensors
from laconic.core.task import Task

ARRAYS = ("train_x", "train_y", "test_x", "test_y")


def function_named(spec: str, what: str) -> Callable[..., Any]:
    """Imports `module:function`, looking in the current folder first.

    Raises:
        UsageError: the module or the function does not exist; the module's own errors are passed on in one line.
    """
    module_name, colon, name = spec.partition(":")
    if not colon or not module_name or not name:
        raise UsageError(f"{what}: got {spec!r}; expected module:function, such as my_nets:build.")
    sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except LaconicError:
        raise
    except Exception as error:
        raise UsageError(f"{what}: module {module_name!r} cannot be imported ({one_line(error)}).") from error
    finally:
        sys.path.pop(0)
    function = getattr(module, name, None)
    if not callable(function):
        raise UsageError(f"{what}: {module_name} has no function {name!r}. Name one that takes no arguments.")
    return function  # type: ignore[no-any-return]  # The user's module has no types.


def called(spec: str, what: str, **arguments: Any) -> Any:
    """Calls the function that `module:function` names, usually without arguments."""
    function = function_named(spec, what)
    try:
        return function(**arguments)
    except LaconicError:
        raise
    except Exception as error:
        raise UsageError(f"{what}: {spec} failed ({one_line(error)}).") from error


def load_model(spec: str, weights: Path | None) -> nn.Module:
    """Builds the model and loads its checkpoint.

    Raises:
        UsageError: the function does not exist or does not return a module.
        ArtifactError: the checkpoint is damaged, or holds pickled code.
        ModelError: the checkpoint does not fit the model; the first key or shape that differs is named.
    """
    model = called(spec, "MODEL")
    if not isinstance(model, nn.Module):
        raise UsageError(f"MODEL: {spec} returned {type(model).__name__}; expected a torch.nn.Module.")
    if weights is not None:
        _load_state(model, read_state(weights), weights)
    return model


def read_state(path: Path) -> dict[str, Tensor]:
    """Reads a checkpoint, safetensors or a state dict saved by torch; no code in it is executed.

    Raises:
        ArtifactError: it is missing, damaged, or needs code to be executed.
    """
    if path.suffix == ".safetensors" or not path.exists():
        return read_tensors(path)
    try:
        with warnings.catch_warnings(action="ignore"):  # What PyTorch warns of, its error says as well.
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ArtifactError(
            f"{path}: holds pickled code or is damaged, and is not executed. Save the weights alone: "
            "torch.save(model.state_dict(), path), or as safetensors."
        ) from error
    except Exception as error:
        raise ArtifactError(f"{path}: damaged, not readable as a checkpoint ({one_line(error)}).") from error
    return _state_in(found, path)


def _state_in(found: Any, path: Path) -> dict[str, Tensor]:
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ArtifactError(f"{path}: holds no state dict. Save it with torch.save(model.state_dict(), path).")
    return {str(name).removeprefix("module."): tensor for name, tensor in found.items()}


def _load_state(model: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    try:
        differences = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        detail = str(error).splitlines()[1:2] or [one_line(error)]
        raise ModelError(f"{path}: does not fit the model: {detail[0].strip()}") from error
    # Tied weights are stored once, so a key is missing only if no other name of its tensor was given.
    given = {held.data_ptr() for name, held in model.state_dict(keep_vars=True).items() if name in state}
    held_by = model.state_dict(keep_vars=True)
    missing = [name for name in differences.missing_keys if held_by[name].data_ptr() not in given]
    if missing:
        raise ModelError(f"{path}: lacks {len(missing)} of the model's tensors, first {missing[0]!r}.")
    if differences.unexpected_keys:
        first = differences.unexpected_keys[0]
        raise ModelError(f"{path}: has {len(differences.unexpected_keys)} tensors the model lacks, first {first!r}.")


def load_task(spec: str, *, metric: str | None, batch_size: int, dynamic: Sequence[str] | None = None) -> Task:
    """Builds the task from `module:function` or from a folder of arrays.

    The function returns a `Task`, a dict of `Task`'s arguments, or `(train, evaluate)` loaders. The folder has
    `train_x.npy`, `train_y.npy`, `test_x.npy` and `test_y.npy`; samples are along the first dimension.

    Sizes of inputs that may change are named as `dynamic_sizes` reads them.

    Raises:
        UsageError: the function does not exist or returns something else, or a size is named in another way.
        DataError: the folder lacks an array, or x and y differ in length.
    """
    sizes: dict[str, Any] = {"dynamic": dynamic_sizes(dynamic)} if dynamic else {}
    if Path(spec).is_dir():
        return replace(_task_of_arrays(Path(spec), metric=metric or "accuracy", batch_size=batch_size), **sizes)
    if ":" not in spec:
        raise UsageError(f"DATA: {spec!r} is neither a folder nor module:function.")
    found = called(spec, "DATA")
    named: dict[str, Any] = ({} if metric is None else {"metric": metric}) | sizes
    if isinstance(found, Task):
        return replace(found, **named)
    if isinstance(found, Mapping):
        return _checked_task({**found, **named})
    if isinstance(found, tuple) and len(found) == 2:
        return Task(train=found[0], evaluate=found[1], **named)
    raise UsageError(f"DATA: {spec} returned {type(found).__name__}; expected a Task, a dict or (train, evaluate).")


def dynamic_sizes(words: Sequence[str]) -> dict[str, dict[int, str]]:
    """Reads sizes of inputs, each as its name and the inputs' dimensions that have it.

    Raises:
        UsageError: one is written in another way.

    Example:
        >>> dynamic_sizes(["length=ids:1,mask:1", "frames=sound:2"])
        {'ids': {1: 'length'}, 'mask': {1: 'length'}, 'sound': {2: 'frames'}}
    """
    found: dict[str, dict[int, str]] = {}
    for word in words:
        name, equals, places = word.partition("=")
        for place in places.split(","):
            given, colon, dim = place.rpartition(":")
            if not (equals and colon and name and given and dim.removeprefix("-").isdecimal()):
                raise invalid("--dynamic", word, "a name, and inputs with a dimension", "Write length=ids:1,mask:1.")
            found.setdefault(given, {})[int(dim)] = name
    return found


def _checked_task(arguments: dict[str, Any]) -> Task:
    try:
        return Task(**arguments)
    except TypeError as error:
        raise UsageError(f"DATA: {one_line(error).replace('Task.__init__()', 'Task')}.") from error


def _task_of_arrays(folder: Path, *, metric: str, batch_size: int) -> Task:
    arrays = {name: _array(folder / f"{name}.npy") for name in ARRAYS}
    for part in ("train", "test"):
        lengths = len(arrays[f"{part}_x"]), len(arrays[f"{part}_y"])
        if lengths[0] != lengths[1]:
            raise DataError(
                f"{folder}: {part}_x has {lengths[0]} samples, {part}_y has {lengths[1]}; expected as many."
            )

    def loader(part: str) -> DataLoader[tuple[Tensor, ...]]:
        data = TensorDataset(*(torch.from_numpy(arrays[f"{part}_{side}"]) for side in "xy"))
        return DataLoader(data, batch_size=batch_size, shuffle=part == "train")

    return Task(train=loader("train"), evaluate=loader("test"), metric=metric)


def _array(path: Path) -> np.ndarray[Any, Any]:
    try:
        array: np.ndarray[Any, Any] = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        names = ", ".join(f"{name}.npy" for name in ARRAYS)
        raise DataError(f"{path}: is missing; a folder of data holds {names}.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable as a plain .npy array ({one_line(error)}).") from error
    if array.dtype.kind not in "fiub" or array.ndim == 0:
        raise DataError(f"{path}: holds {array.dtype} of shape {list(array.shape)}; expected numbers, a row a sample.")
    # float64 is what NumPy saves by default and what no network expects.
    return array.astype(np.float32) if array.dtype == np.float64 else array


def one_line(error: BaseException) -> str:
    """Returns an error's kind and the first line of what it says."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0].rstrip('.')}" if text else type(error).__name__
