"""Writes `operators.md`, the list of operators that the axis algebra has rules for: `python docs/operators.py`."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from laconic.graph.axes.rules import FAMILIES, elementwise

PAGE = Path(__file__).with_suffix(".md")
HEAD = """# Operators

Pruning reads the model as a graph of ATen operators, as `torch.export` makes it. Each operator below has a rule that
says which dimensions of its inputs and outputs are the same, so that slices can be cut through it. **An operator
without a rule freezes what goes in and comes out**: the model is then pruned less, never wrongly, and
`print(laconic.axes(model, inputs))` names the operator ([frozen.md](frozen.md)).

Every operator that PyTorch tags as `pointwise` (`add`, `mul`, `relu`, `gelu`, `where` and some hundred more) works
index by index and needs no rule of its own. In-place forms (`relu_`) follow the same rules. This page is written by
`docs/operators.py` from the rules themselves.
"""


def page() -> str:
    """Returns the page."""
    return "\n".join([HEAD, *(line for family in FAMILIES for line in _section(family))]).rstrip() + "\n"


def _section(family: ModuleType) -> Iterator[str]:
    name = family.__name__.rpartition(".")[2]
    yield f"## {name.capitalize()}\n"
    yield f"{_first_line(family)}\n"
    yield "| operators | what the rule says |\n|---|---|"
    operators: dict[object, list[str]] = {}
    for operator, rule in family.RULES.items():
        operators.setdefault(rule, []).append(operator)
    for rule, names in operators.items():
        shown = ", ".join(f"`{name}`" for name in sorted(names))
        also = " and all that is tagged `pointwise`" if rule is elementwise.elementwise else ""
        yield f"| {shown}{also} | {_first_line(rule)} |"
    yield ""


def _first_line(documented: object) -> str:
    return (documented.__doc__ or "").strip().splitlines()[0].replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
