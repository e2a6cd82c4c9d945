"""Pages that are written from the code, or that list it, are in step with it."""

import importlib.util
from pathlib import Path

import pytest

from laconic.graph.axes.rules import RULES
from laconic.prune import ALL

DOCS = Path(__file__).parents[1] / "docs"


def test_the_list_of_operators_is_that_of_the_rules() -> None:
    spec = importlib.util.spec_from_file_location("operators_page", DOCS / "operators.py")
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    written = (DOCS / "operators.md").read_text(encoding="utf-8")
    assert written == writer.page(), "run: python docs/operators.py"
    assert [name for name in RULES if f"`{name}`" not in written] == []


@pytest.mark.parametrize("criterion", ALL)
def test_every_criterion_has_a_row_in_the_page_on_pruning(criterion: type) -> None:
    assert f"| `{criterion.__name__}(" in (DOCS / "pruning.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["pruning.md", "frozen.md"])
def test_links_between_pages_lead_somewhere(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    linked = [part.partition(")")[0] for part in text.split("](")[1:]]
    assert linked and all(link.startswith("http") or (DOCS / link).exists() for link in linked)
