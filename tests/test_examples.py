"""The examples run, on other data and networks than the demo's, and meet their budgets."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from laconic import verify
from laconic.core.edit import Recode

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_tested_here() -> None:
    assert sorted(path.stem for path in EXAMPLES.glob("*.py")) == ["prune", "sound", "text", "vision"]


@pytest.mark.parametrize(
    "name", ["sound", pytest.param("text", marks=pytest.mark.slow), pytest.param("vision", marks=pytest.mark.slow)]
)
def test_an_example_meets_its_budget(name: str, capsys: pytest.CaptureFixture) -> None:
    result = example(name).main()
    assert result.met, result.misses
    assert any(isinstance(edit, Recode) for edit in result.plan)
    assert verify(result.folder / "artifact").samples > 0
    assert capsys.readouterr() == ("", "")


def test_a_pruned_network_is_half_the_work_and_survives_the_disk(capsys: pytest.CaptureFixture) -> None:
    pruned, accuracies = example("prune").main(epochs=2)
    assert pruned.macs_ratio == pytest.approx(0.5, abs=0.02) and pruned.kind == "module"
    assert accuracies["original"] > 0.5 and accuracies["pruned"] > accuracies["original"] - 0.1
    shown = capsys.readouterr().out
    assert "residual stream" in shown and "1.inner.0.weight[0]: 48 ->" in shown
