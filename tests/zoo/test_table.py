"""docs/coverage.md is what was found, for the models that are in the zoo now."""

import json
import re

from . import all_entries, table
from .checks import CHECKS
from .test_patterns import ASKED

RESULTS = json.loads(table.RESULTS.read_text(encoding="utf-8"))


def test_page_is_made_from_the_results():
    assert table.PAGE.read_text(encoding="utf-8") == table.page(RESULTS)


def test_every_model_of_the_zoo_has_its_row_and_no_other_has():
    names = [entry.name for entry in all_entries()]
    assert len(set(names)) == len(names)
    rows = re.findall(r"(?m)^\| (\w+/\S+) \|", table.PAGE.read_text(encoding="utf-8"))
    assert rows == names
    for tool in ("laconic", "torch_pruning"):
        assert {row["name"] for row in RESULTS["rows"][tool]} <= set(names)


def test_zoo_is_as_large_as_it_has_to_be():
    families = [entry.family for entry in all_entries()]
    least = {"pattern": 25, "torchvision": 25, "timm": 30, "transformers": 30}
    assert all(families.count(family) >= count for family, count in least.items())


def test_patterns_pass_as_their_own_tests_say():
    of_patterns = [row for row in RESULTS["rows"]["laconic"] if row["name"].startswith("pattern/")]
    assert of_patterns
    assert {table.verdict({**row, "failures": _without_onnx(row)}, ASKED) for row in of_patterns} == {"pass"}


def test_totals_are_those_of_the_rows():
    asked = {"laconic": CHECKS, "torch_pruning": table.OTHER_CHECKS}
    for tool, checks in asked.items():
        verdicts = [table.verdict(row, checks) for row in RESULTS["rows"][tool]]
        assert RESULTS[tool]["passed"] == verdicts.count("pass") and RESULTS[tool]["of"] == len(verdicts)
    failed = [row["name"] for row in RESULTS["rows"]["laconic"] if table.verdict(row, CHECKS) != "pass"]
    assert RESULTS["failed"] == failed


def _without_onnx(row):
    return {check: why for check, why in row["failures"].items() if check != "onnx"}
