import dataclasses
import json
import sys
from collections import OrderedDict, namedtuple
from typing import Any

import pytest
import torch
from torch.utils import _pytree as pytree

from laconic.core.errors import ModelError, UsageError
from laconic.core.structure import spec_from_json, spec_to_json

Pair = namedtuple("Pair", "first second")


@dataclasses.dataclass
class Answer:
    logits: Any
    hidden: Any = None


@pytest.fixture
def known() -> None:
    if Answer not in pytree.SUPPORTED_NODES:
        torch.export.register_dataclass(Answer)


@pytest.mark.parametrize(
    "structure",
    [1, (), [1, (2, {"a": 3, "b": [4]})], {"x": {1: 2}}, Pair(1, [2]), OrderedDict(z=1, a=2), (Pair(1, 2), None)],
    ids=str,
)
def test_structures_come_back(structure: object) -> None:
    spec = pytree.tree_structure(structure)
    again = spec_from_json(json.loads(json.dumps(spec_to_json(spec))))
    assert again == spec
    leaves = pytree.tree_leaves(structure)
    assert pytree.tree_unflatten(leaves, again) == structure


def test_dataclass_comes_back_even_where_pytorch_does_not_know_it_yet(known: None) -> None:
    content = json.loads(json.dumps(spec_to_json(pytree.tree_structure(Answer(1, {"h": 2})))))
    pytree._deregister_pytree_node(Answer)
    assert pytree.tree_unflatten([5, 6], spec_from_json(content)) == Answer(5, {"h": 6})


@pytest.mark.parametrize("name", ["nowhere:Thing", "json:Thing", "json:dumps", f"{__name__}:Pair.first", ":", "os"])
def test_class_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(UsageError, match=f"have the class {name}; import it first"):
        spec_from_json([name, None, []])


def test_class_that_holds_no_tensors_is_refused() -> None:
    with pytest.raises(UsageError, match="fractions:Fraction; expected a class that PyTorch knows"):
        import fractions  # noqa: F401 - only an imported class is found at all

        spec_from_json(["fractions:Fraction", None, []])


def test_nothing_is_imported() -> None:
    sys.modules.pop("this", None)
    with pytest.raises(UsageError, match="import it first"):
        spec_from_json(["this:s", None, []])
    assert "this" not in sys.modules


def test_context_that_is_no_json_is_said() -> None:
    with pytest.raises(ModelError, match="OrderedDict: cannot be written down"):
        spec_to_json(pytree.TreeSpec(OrderedDict, [object()], [pytree.tree_structure(0)]))
