"""Pages that are written from the code, or that list it, are in step with it."""

import importlib.util
import re
from dataclasses import fields
from pathlib import Path

import pytest

from laconic.cli.recipe import Recipe
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


@pytest.mark.parametrize("page", sorted(page.name for page in DOCS.glob("*.md")))
def test_links_between_pages_lead_somewhere(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    linked = [part.partition(")")[0] for part in text.split("](")[1:]]
    inside = [link.partition("#") for link in linked if not link.startswith("http")]
    assert [path for path, _, _ in inside if not (DOCS / (path or page)).exists()] == []
    assert [place for path, _, place in inside if place and place not in places_of(DOCS / (path or page))] == []


def places_of(page: Path) -> set[str]:
    """Returns what a link may name after `#`, as GitHub makes it of headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_class_and_function_that_the_page_on_migration_names_exists() -> None:
    places = [importlib.import_module(f"laconic{name}") for name in ("", ".distill", ".distill.augment", ".train")]
    rows = [line.split("|") for line in (DOCS / "distillation_migration.md").read_text(encoding="utf-8").splitlines()]
    ours = [name for row in rows if len(row) == 4 for name in re.findall(r"`(?:laconic\.)?([A-Za-z_]\w*)[(`]", row[2])]
    words = {
        "attention_mask",
        "teacher_task",
        "requires_grad_",
        "load_state_dict",
        *(key.name for key in fields(Recipe)),
    }
    assert len(ours) > 50
    assert [name for name in ours if name not in words and not any(hasattr(place, name) for place in places)] == []
