"""Sizes of files before they are written."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.samples import Net, every_edit, net, sample_codings
from laconic.core.apply import apply
from laconic.core.edit import Recode
from laconic.core.files import write_tensors
from laconic.core.packing import pack
from laconic.core.plan import Plan
from laconic.core.sizes import TYPES, tensors_size
from laconic.core.state import save_state, state_size


def on_disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


@given(st.dictionaries(st.text(min_size=1, max_size=9), st.tuples(st.sampled_from(list(TYPES)), st.integers(0, 3000))))
def test_the_size_of_a_file_is_known_to_the_byte(tmp_path_factory: pytest.TempPathFactory, content: dict) -> None:
    tensors = {name: torch.zeros(size, dtype=dtype) for name, (dtype, size) in content.items() if name.isprintable()}
    path = tmp_path_factory.mktemp("sizes") / "some.safetensors"
    write_tensors(path, tensors)
    assert tensors_size(tensors) == path.stat().st_size


def test_shapes_and_scalars_count_too(tmp_path: Path) -> None:
    tensors = {"a.b": torch.zeros(2, 3, 1), "scalar": torch.tensor(1.0), "none": torch.zeros(0, 5).half()}
    write_tensors(tmp_path / "x", tensors)
    assert tensors_size(tensors) == on_disk(tmp_path)


@pytest.mark.parametrize("name", sample_codings())
def test_a_plan_says_the_size_of_its_files_for_every_coding(name: str, tmp_path: Path) -> None:
    plan = Plan.of([Recode("some.weight", sample_codings()[name])])
    plan.save(tmp_path)
    assert plan.size_bytes == on_disk(tmp_path)


def test_a_plan_of_every_edit_says_the_size_of_its_files(tmp_path: Path) -> None:
    for plan in (Plan(), every_edit(net()), pack(every_edit(net()))):
        plan.save(tmp_path)
        assert plan.size_bytes == on_disk(tmp_path)


def test_a_saved_network_says_the_size_of_its_files(tmp_path: Path) -> None:
    model: Net = net()
    plan = every_edit(model)
    small = apply(model, plan)
    save_state(tmp_path, small, plan)
    assert state_size(small, plan) == on_disk(tmp_path)
