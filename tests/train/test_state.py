from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from laconic.core.errors import TrainingError
from laconic.train.state import flatten, unflatten

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
TENSORS = st.lists(st.floats(width=32, allow_nan=False), max_size=3).map(torch.tensor)
KEYS = st.integers() | st.text() | st.sampled_from(["a", "b", "a/b", "tensor", "dict", "tuple"])
STATES = st.recursive(
    SCALARS | TENSORS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(KEYS, inner, max_size=3)
        | st.tuples(inner)
        | st.tuples(inner, inner)
    ),
    max_leaves=12,
)


def same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@given(STATES)
def test_flatten_and_unflatten_undo_each_other(state: Any) -> None:
    assert same(unflatten(*flatten(state)), state)


def test_paths_that_collide_keep_their_own_tensors() -> None:
    state = {"a/b": torch.tensor(1), "a": {"b": torch.tensor(2)}}
    assert same(unflatten(*flatten(state)), state)


def test_tied_tensors_are_stored_once_under_their_first_name() -> None:
    shared = nn.Parameter(torch.ones(3))
    tensors, skeleton = flatten({"embed": shared, "out": shared})
    assert list(tensors) == ["embed"]
    assert torch.equal(unflatten(tensors, skeleton)["out"], torch.ones(3))


def test_views_of_one_storage_get_storage_of_their_own() -> None:
    whole = torch.arange(6.0)
    tensors, _ = flatten({"head": whole[:3], "tail": whole[3:]})
    assert len({t.untyped_storage().data_ptr() for t in tensors.values()}) == 2
    assert all(t.untyped_storage().nbytes() == 12 for t in tensors.values())


@pytest.mark.parametrize(("value", "named"), [(object(), "groups/0 is a object"), ({1.5: 2}, "has a key 1.5")])
def test_what_would_need_pickle_is_refused_by_its_path(value: object, named: str) -> None:
    with pytest.raises(TrainingError, match=named):
        flatten({"groups": [value]})
