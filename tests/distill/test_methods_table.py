"""The page on distillation is in step with the code: every way has its row, its reference and a measured row."""

import importlib
import re
from pathlib import Path

import pytest

from laconic.distill import ALL

PAGE = (Path(__file__).parents[2] / "docs" / "distillation.md").read_text(encoding="utf-8")
CONTRACTS = {
    "ALL", "ANSWERS", "FEATURES", "Augmentation", "Callback", "Decoding", "Lesson", "Moment", "Pair", "Progress",
    "Rule", "Assisted", "CachedTeacher", "Explanation", "Matched", "Site", "Tabular", "Trained", "overhear",
    "label_loss", "continued", "opening", "default_loss",
}  # fmt: skip
"""What is given to or returned by something else on the page."""
MEASURED_AS = {"AttendedLayers": "match=learned"}


@pytest.mark.parametrize("kind", ALL)
def test_every_method_has_a_row_in_the_documentation_and_a_reference_of_its_own(kind: type) -> None:
    assert f"| `{kind.__name__}(" in PAGE
    assert kind.__doc__ is not None
    assert "Reference:" in kind.__doc__
    assert "Guarantees:" in kind.__doc__
    assert "Example:" in kind.__doc__


@pytest.mark.parametrize("package", ["distill", "train", "distill.augment"])
def test_everything_that_a_person_can_use_is_on_the_page(package: str) -> None:
    names = set(importlib.import_module(f"laconic.{package}").__all__) - CONTRACTS
    assert sorted(name for name in names if not re.search(rf"\b{name}\b", PAGE)) == []


def test_every_loss_has_a_measured_row_or_the_reason_why_not() -> None:
    measured = PAGE[PAGE.index("## Measured") :]
    rows = {line.split("|")[1].strip().removeprefix("transformer, ") for line in measured.splitlines() if "|" in line}
    without = measured[measured.index("Without a row") :].split(";")[0]
    names = {kind.__name__ for kind in ALL if MEASURED_AS.get(kind.__name__, kind.__name__) not in rows}
    assert names == set(re.findall(r"`(\w+)`", without))


def test_the_measured_rows_are_those_of_the_last_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    methods = importlib.import_module("kd_methods")
    assert methods.table(methods.kept()) in PAGE, "run: python benchmarks/kd_methods.py --table"
