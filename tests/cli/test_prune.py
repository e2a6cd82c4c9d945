"""`laconic prune`: what it writes, what it shows, and what it refuses."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import laconic
from laconic.cli.pruning import criterion
from laconic.core.errors import UsageError
from laconic.prune import ALL

from . import nets
from .conftest import Laconic

FAILED, WRONG_USAGE = 1, 2
GOOD = ("prune", "nets:build", "--data", "nets:task", "--importance", "magnitude")


def test_prune_writes_a_model_that_loads_and_says_what_went(laconic: Laconic, tmp_path: Path) -> None:
    out = tmp_path / "small"
    save_file(nets.build().state_dict(), tmp_path / "net.safetensors")
    found = laconic(
        "prune", "nets:build", "--data", "nets:task", "--weights", tmp_path / "net.safetensors", "--out", out, "--json"
    ).json
    assert found["out"] == str(out) and found["kind"] == "module"
    assert len(found["notes"]) == 1 and found["notes"][0].startswith("ranked by ")
    assert found["axes"] == [{"name": "0.weight[0]", "kind": "neurons", "size": 64, "left": 32}]
    assert found["macs"] == [1280, 640] and found["parameters"] == [1476, 740] and found["bytes"] == [5904, 2960]
    assert found["frozen"] == {"the model's input": ["0.weight[1]"], "the model's output": ["3.{weight,bias}[0]"]}
    assert set(found["scores"]) == {"original", "pruned"} and found["scores"]["pruned"]["predictions"] == 64
    model = load_pruned(out)
    assert model[0].out_features == 32 and model(torch.zeros(2, 16)).shape == (2, 4)


def load_pruned(folder: Path) -> torch.nn.Module:
    return laconic.load_pruned(folder, nets.build()).model


def test_a_dry_run_shows_the_same_sizes_and_writes_nothing(laconic: Laconic, tmp_path: Path) -> None:
    ran = laconic(*GOOD, "--ratio", 0.25, "--dry-run", "--out", tmp_path / "out")
    assert ran.code == 0 and ran.err == "" and list(tmp_path.iterdir()) == []
    words = (
        "Nothing was written",
        "75.0%",
        "Frozen by the model's output: 3.{weight,bias}[0]",
        "would be your own class",
    )
    assert [word for word in words if word not in ran.out] == []
    found = laconic(*GOOD, "--ratio", 0.25, "--dry-run", "--json").json
    assert found["out"] is None and found["scores"] == {} and found["macs"] == [1280, 960]


def test_options_reach_the_function(laconic: Laconic, tmp_path: Path) -> None:
    ran = laconic(
        *GOOD, "--of", "parameters", "--scope", "layer", "--round-to", 24, "--least", 0.3, "--dry-run", "--json"
    )
    assert ran.json["axes"][0]["left"] == 24
    assert "asked to save 50.0% of the parameters" in ran.json["notes"][0]
    only = laconic(*GOOD, "--unit", "neurons", "--dry-run", "--json")
    assert only.json["axes"][0]["left"] == 32 and only.json["removed"] == {}
    shown = laconic(*GOOD, "--out", tmp_path / "out")
    assert shown.code == 0 and "original: accuracy" in shown.out and f"Plan and weights are in {tmp_path}" in shown.out
    again = laconic(*GOOD, "--out", tmp_path / "out")
    assert again.code == 0 and load_pruned(tmp_path / "out")[0].out_features == 32


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--ratio", "1"), "prune.ratio: got 1.0; expected a fraction in [0, 1). For 50 % write 0.5."),
        (("--unit", "block"), "prune.units: got 'block'; expected some of 'channels', 'neurons', 'heads'"),
        (("--ratio=-0.1",), "prune.ratio: got -0.1"),
        (("--of", "bytes"), "prune.of: got 'bytes'; expected"),
        (("--scope", "all"), "prune.scope: got 'all'; expected 'global', 'layer', 'kind' or 'equal'"),
        (("--importance", "beauty"), "prune.importance: got 'beauty'; expected one of compensated, magnitude"),
        (("--least", "2"), "prune.least: got 2.0"),
        (("--keep", "haed.*"), "prune.keep: got 'haed.*'; expected a pattern that matches a parameter"),
        (("--target", "abacus"), "Target.runtime: got 'abacus'"),
        (("--metric", "beauty"), "Task.metric: got 'beauty'"),
    ],
)
def test_wrong_usage_is_exit_code_two(laconic: Laconic, tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    ran = laconic(*GOOD, *options, "--out", tmp_path / "out")
    assert ran.code == WRONG_USAGE and words in ran.line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("model", "data", "words"),
    [
        ("nets:linear", "nets:task", "Linear has nothing that can be cut"),
        ("nets:build", "nets:misshapen", "Sequential fails on the example inputs"),
        ("nets:build", "nets:empty", "the loader yields no samples"),
        ("nets:branching", "nets:task", "Branching cannot be exported at"),
        ("nets:without_weights", "nets:task", "has nothing that can be cut"),
        ("nets:quantised", "nets:task", "no parameters of floating point"),
    ],
)
def test_models_and_data_that_do_not_fit_are_exit_code_one(
    laconic: Laconic, tmp_path: Path, model: str, data: str, words: str
) -> None:
    ran = laconic("prune", model, "--data", data, "--importance", "magnitude", "--out", tmp_path / "out")
    assert ran.code == FAILED and words in ran.line
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_holds_something_else_is_said_before_the_work(laconic: Laconic, tmp_path: Path) -> None:
    (tmp_path / "folder" / "notes").mkdir(parents=True)
    ran = laconic("prune", "nets:raising", "--data", "nets:task", "--out", tmp_path / "folder")
    assert ran.code == FAILED and "holds 'notes'" in ran.line


def test_every_criterion_has_a_name_in_the_shell() -> None:
    names = "compensated magnitude lamp geometric-median batch-norm-scale taylor fisher activation apoz random"
    assert [type(criterion(name)) for name in names.split()] == list(ALL)
    assert criterion("batch_norm_scale") == criterion("batch-norm-scale")
    with pytest.raises(UsageError, match="compensated, magnitude, lamp"):
        criterion("Lamp2")
