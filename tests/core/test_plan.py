import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.samples import GRID, cut_conv, every_edit, net, sample_codings, symmetric
from laconic.core.codings import Dense
from laconic.core.edit import Recode, RoundActivation, Swap
from laconic.core.errors import ArtifactError
from laconic.core.plan import PLAN_FILE, TENSOR_FILE, Plan
from laconic.core.spec import Identity

PLAN = every_edit(net())
FILES = [PLAN_FILE, TENSOR_FILE]


@pytest.mark.parametrize(
    "plan",
    [Plan(), PLAN, Plan.of(Recode(name, coding) for name, coding in sample_codings().items())],
    ids=["empty", "every edit", "every coding"],
)
def test_a_saved_plan_is_loaded_as_its_equal(tmp_path: Path, plan: Plan) -> None:
    plan.save(tmp_path / "new" / "folder")
    again = Plan.load(tmp_path / "new" / "folder")
    assert again == plan
    assert again.digest == plan.digest
    assert str(again) == str(plan)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(names=st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=4))
def test_names_may_hold_any_character(tmp_path: Path, names: list[str]) -> None:
    plan = Plan.of([Recode(name, symmetric(torch.ones(2, 2))) for name in names])
    plan.save(tmp_path)
    assert Plan.load(str(tmp_path)) == plan


def test_edits_that_share_a_tensor_are_saved(tmp_path: Path) -> None:
    grid = symmetric(torch.randn(3, 4))
    plan = Plan.of([Recode("a", grid), Recode("b", grid), cut_conv()])
    plan.save(tmp_path)
    assert Plan.load(tmp_path) == plan


def test_more_than_ten_edits_keep_their_tensors(tmp_path: Path) -> None:
    plan = Plan.of([Recode(f"layer{i}", symmetric(torch.randn(2, 3))) for i in range(12)])
    plan.save(tmp_path)
    assert Plan.load(tmp_path) == plan


def test_plans_add_in_order() -> None:
    one, two = Plan.of([Swap("a", Identity())]), Plan.of([RoundActivation("b", "input", GRID)])
    assert list(one + two) == [*one, *two]
    assert one + two != two + one
    assert (one + two).digest != (two + one).digest
    assert one + Plan() == one
    assert len(one + two) == 2


def test_a_recoding_that_a_later_one_overwrites_can_go_unless_a_swap_may_need_it() -> None:
    first, last, other = (
        Recode(name, Dense(torch.full((2, 2), value)))
        for name, value in (("a.weight", 1.0), ("a.weight", 2.0), ("b.weight", 3.0))
    )
    assert Plan.of([first, other, last]).without_overwritten() == Plan.of([other, last])
    between = Swap("a", Identity())
    assert Plan.of([first, between, last]).without_overwritten() == Plan.of([first, between, last])


def test_a_diff_names_what_went_and_what_came() -> None:
    kept, gone, come = Swap("a", Identity()), Swap("b", Identity()), RoundActivation("c", "input", GRID)
    assert Plan.of([kept, gone]).diff(Plan.of([kept, come])) == f"- {gone}\n+ {come}"
    assert PLAN.diff(PLAN) == ""


def test_a_diff_sees_other_codes_in_the_same_format() -> None:
    one, two = (Plan.of([Recode("a", symmetric(torch.randn(2, 3)))]) for _ in range(2))
    assert len(one.diff(two).splitlines()) == 2


def test_recodes_are_the_edits_that_recode() -> None:
    assert [edit.parameter for edit in PLAN.recodes] == ["fc1.bias", "fc2.0.weight"]


def test_a_plan_prints_one_line_an_edit() -> None:
    lines = str(PLAN).splitlines()
    assert lines[0] == "Plan: 9 edits"
    assert lines[1] == "  conv's channels: cut to 5 in 7 tensors"
    assert len(lines) == 10


def damage(folder: Path, name: str, content: bytes | bytearray) -> str:
    """Writes the content, and returns what loading then says."""
    (folder / name).write_bytes(content)
    with pytest.raises(ArtifactError) as caught:
        Plan.load(folder)
    assert PLAN_FILE in str(caught.value) or TENSOR_FILE in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_an_artifact_error_that_names_it(tmp_path: Path, name: str) -> None:
    PLAN.save(tmp_path)
    whole = (tmp_path / name).read_bytes()
    for end in (*range(0, len(whole) - 1, max(1, len(whole) // 60)), len(whole) - 2):
        said = damage(tmp_path, name, whole[:end])
        assert str(tmp_path / name) in said


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_an_artifact_error_that_names_a_file(tmp_path: Path, name: str) -> None:
    PLAN.save(tmp_path)
    whole = (tmp_path / name).read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 400)):
        broken = bytearray(whole)
        broken[place] ^= 1 << place % 8
        damage(tmp_path, name, broken)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_an_artifact_error_that_names_it(tmp_path: Path, name: str) -> None:
    PLAN.save(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name}: cannot be read"):
        Plan.load(tmp_path)


def test_tensors_of_another_plan_are_noticed(tmp_path: Path) -> None:
    PLAN.save(tmp_path / "a")
    every_edit(net()).save(tmp_path / "b")
    other = Plan.of([*list(PLAN)[:-5], Recode("fc2.0.weight", symmetric(torch.randn(2, 10), 8)), *list(PLAN)[-4:]])
    other.save(tmp_path / "b")
    (tmp_path / "b" / TENSOR_FILE).rename(tmp_path / "a" / TENSOR_FILE)
    with pytest.raises(ArtifactError, match=f"{TENSOR_FILE} beside it belongs to another plan"):
        Plan.load(tmp_path / "a")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"kind": "enlarge"}, "Edit.kind: got 'enlarge'; expected one of recode, round, cut, swap"),
        ({"kind": "recode", "parameter": "a", "coding": "magic"}, "Recode.coding: got 'magic'; expected one of affine"),
        ({"kind": "swap", "module": "a", "spec": "code"}, "Swap.spec: got 'code'; expected one of identity, low_rank"),
        ({"kind": "recode"}, "'coding'"),
        ({}, "'kind'"),
        ([], "an edit cannot be read"),
        (None, "an edit cannot be read"),
        (
            {"kind": "round", "module": "a", "side": "both", "per": "tensor", "bits": 8, "scale": 1, "zero_point": 0},
            "side: got 'both'",
        ),
        (
            {
                "kind": "round",
                "module": "a",
                "side": "input",
                "per": "tensor",
                "bits": "x",
                "scale": 1,
                "zero_point": 0,
            },
            "cannot be read",
        ),
    ],
)
def test_an_entry_that_is_no_edit_is_refused(tmp_path: Path, entry: Any, message: str) -> None:
    Plan().save(tmp_path)
    described = json.loads((tmp_path / PLAN_FILE).read_text())
    said = damage(tmp_path, PLAN_FILE, json.dumps({**described, "edits": [entry]}).encode())
    assert str(tmp_path / PLAN_FILE) in said
    assert message in said


@pytest.mark.parametrize("content", ["[]", "null", "3", '"plan"', "{}", '{"format": 1}', '{"format": 1, "edits": 3}'])
def test_json_that_is_no_plan_is_refused(tmp_path: Path, content: str) -> None:
    Plan().save(tmp_path)
    assert str(tmp_path / PLAN_FILE) in damage(tmp_path, PLAN_FILE, content.encode())


def test_a_plan_of_another_format_is_refused_with_both_numbers(tmp_path: Path) -> None:
    Plan().save(tmp_path)
    described = json.loads((tmp_path / PLAN_FILE).read_text())
    said = damage(tmp_path, PLAN_FILE, json.dumps({**described, "format": 7}).encode())
    assert said.endswith("format 7; this version reads 1.")
