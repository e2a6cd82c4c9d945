from pathlib import Path

import pytest

from laconic.distill import ALL

TABLE = Path(__file__).parents[2] / "docs" / "distillation.md"


@pytest.mark.parametrize("kind", ALL)
def test_every_method_has_a_row_in_the_documentation_and_a_reference_of_its_own(kind: type) -> None:
    assert f"| `{kind.__name__}(" in TABLE.read_text(encoding="utf-8")
    assert kind.__doc__ is not None
    assert "Reference:" in kind.__doc__
    assert "Guarantees:" in kind.__doc__
    assert "Example:" in kind.__doc__
