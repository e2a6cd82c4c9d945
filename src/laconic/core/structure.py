"""How inputs and outputs are nested, as JSON values; classes are looked up among those that are imported already."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._pytree import TreeSpec

from laconic.core.errors import ModelError, UsageError

PLAIN: dict[str, type] = {"tuple": tuple, "list": list, "dict": dict}


def spec_to_json(spec: TreeSpec) -> Any:
    """Returns a structure as JSON values; None is a leaf.

    Raises:
        ModelError: it has a class in it that cannot be named.

    Example:
        >>> spec_to_json(pytree.tree_structure(({"x": 1}, [2, 3])))
        ['tuple', None, [['dict', ['x'], [None]], ['list', None, [None, None]]]]
    """
    if spec.is_leaf():
        return None
    children = [spec_to_json(child) for child in spec.children()]
    for name, kind in PLAIN.items():
        if spec.type is kind or (name == "list" and spec.type.__name__ == "immutable_list"):
            return [name, spec.context, children]
        if name == "dict" and spec.type.__name__ == "immutable_dict":
            return [name, spec.context, children]
    made_by = spec.context if isinstance(spec.context, type) else spec.type
    context = None if made_by is spec.context else spec.context
    try:
        json.dumps(context)
    except TypeError as error:
        raise ModelError(f"{made_by.__name__}: cannot be written down ({error}). Return a tuple or a dict.") from error
    return [f"{made_by.__module__}:{made_by.__qualname__}", context, children]


def spec_from_json(content: Any) -> TreeSpec:
    """Undoes `spec_to_json`; imports nothing.

    Raises:
        UsageError: a class is not imported, or is none that holds tensors.

    Example:
        >>> structure = pytree.tree_structure(({"x": 1}, [2, 3]))
        >>> spec_from_json(spec_to_json(structure)) == structure
        True
    """
    if content is None:
        return pytree.tree_structure(0)
    name, context, parts = content
    children = [spec_from_json(part) for part in parts]
    if name in PLAIN:
        return TreeSpec(PLAIN[name], context, children)
    found = _imported(name)
    if issubclass(found, tuple) and hasattr(found, "_fields"):
        return TreeSpec(pytree.tree_structure(found(*parts)).type, found, children)
    if found not in pytree.SUPPORTED_NODES and dataclasses.is_dataclass(found):
        torch.export.register_dataclass(found)
    if found not in pytree.SUPPORTED_NODES:
        raise UsageError(f"Rewrite: got a structure with a {name}; expected a class that PyTorch knows as a container.")
    return TreeSpec(found, context, children)


def _imported(name: str) -> type:
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type):
        raise UsageError(f"Rewrite: the model's inputs or outputs have the class {name}; import it first.")
    return found
