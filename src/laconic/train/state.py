"""Nested state as tensors and JSON, and back: what makes pickle needless."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from laconic.core.errors import TrainingError

Flat = tuple[dict[str, Tensor], Any]


def flatten(state: Any) -> Flat:
    """Takes nested dicts, lists and tuples of tensors and scalars apart.

    Returns:
        Tensors on the CPU by their path (`"model/layer.weight"`), each in storage of its own, a tensor that occurs
        several times (tied weights) under its first path only; and everything else as JSON values, in which
        `{"tensor": path}`, `{"dict": [[key, value], ...]}` and `{"tuple": [...]}` stand for what JSON does not know.

    Raises:
        TrainingError: a value is none of these; the message names its path.

    Guarantees:
        `unflatten(*flatten(state))` equals `state`: values, types of containers, whole-number keys.

    Example:
        >>> flatten({"step": 3, "groups": [{"betas": (0.9, 0.999)}]})[1]
        {'dict': [['step', 3], ['groups', [{'dict': [['betas', {'tuple': [0.9, 0.999]}]]}]]]}
    """
    tensors: dict[str, Tensor] = {}
    paths: dict[int, str] = {}

    def visit(value: Any, path: str) -> Any:
        if isinstance(value, Tensor):
            if id(value) not in paths:
                path += "'" * (path in tensors)  # A key may hold the separator itself.
                paths[id(value)] = path
                tensors[path] = value.detach().to("cpu", copy=True).contiguous()
            return {"tensor": paths[id(value)]}
        if isinstance(value, dict):
            return {"dict": [[_key(k, path), visit(v, f"{path}/{k}".lstrip("/"))] for k, v in value.items()]}
        if isinstance(value, list | tuple):
            items = [visit(v, f"{path}/{i}") for i, v in enumerate(value)]
            return {"tuple": items} if isinstance(value, tuple) else items
        return _scalar(value, path)

    skeleton = visit(state, "")
    return tensors, skeleton


def unflatten(tensors: dict[str, Tensor], skeleton: Any) -> Any:
    """Undoes `flatten`."""
    if isinstance(skeleton, list):
        return [unflatten(tensors, item) for item in skeleton]
    if not isinstance(skeleton, dict):
        return skeleton
    if "tensor" in skeleton:
        return tensors[skeleton["tensor"]]
    if "tuple" in skeleton:
        return tuple(unflatten(tensors, item) for item in skeleton["tuple"])
    return {key: unflatten(tensors, value) for key, value in skeleton["dict"]}


def _key(key: object, path: str) -> str | int:
    if isinstance(key, str | int):
        return key
    raise TrainingError(f"checkpoint: {path} has a key {key!r}; expected text or a whole number.")


def _scalar(value: object, path: str) -> object:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TrainingError(
        f"checkpoint: {path} is a {type(value).__name__}; expected tensors, numbers, text, and lists or dicts of them, "
        "which can be stored without pickle. Train without a work folder, or use another optimizer."
    )
