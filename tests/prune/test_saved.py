import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

import laconic
from laconic.core.edit import Rewrite
from laconic.core.errors import ArtifactError, ModelError
from laconic.core.plan import PLAN_FILE, TENSOR_FILE, Plan
from laconic.core.state import WEIGHTS
from laconic.prune import cutting, load_pruned
from laconic.prune.saved import DESCRIPTION

from .networks import Padded, Plain, images

KINDS = {"module": Plain, "graph": Padded}
both = pytest.mark.parametrize("kind", KINDS)


def pruned(kind: str) -> laconic.Pruned:
    torch.manual_seed(0)
    found = laconic.prune(KINDS[kind]().eval(), laconic.Task(evaluate=[images()]), ratio=0.4)
    assert found.kind == kind
    return found


@both
def test_saved_model_comes_back_from_the_original_class_with_other_weights(tmp_path: Path, kind: str) -> None:
    small = pruned(kind)
    fresh = KINDS[kind]()
    before = [tensor.clone() for tensor in fresh.state_dict().values()]
    found = load_pruned(small.save(tmp_path / "small"), fresh)
    assert found.plan == small.plan and found.kind == kind and found.notes == small.notes
    assert type(found.model).__name__ == KINDS[kind].__name__ and not found.model.training
    assert torch.equal(found.model(images()), small.model(images()))
    assert all(torch.equal(a, b) for a, b in zip(before, fresh.state_dict().values(), strict=True))
    assert sorted(path.name for path in (tmp_path / "small").iterdir()) == sorted(
        [DESCRIPTION, PLAN_FILE, TENSOR_FILE, WEIGHTS]
    )


@both
def test_plan_alone_leads_from_the_original_to_the_model(kind: str) -> None:
    torch.manual_seed(0)
    small, model = pruned(kind), KINDS[kind]()
    torch.manual_seed(0)
    model = KINDS[kind]().eval()
    assert any(isinstance(edit, Rewrite) for edit in small.plan) == (kind == "graph")
    assert torch.equal(laconic.apply(model, small.plan)(images()), small.model(images()))


@both
def test_trained_model_is_saved_as_it_is_now(tmp_path: Path, kind: str) -> None:
    small = pruned(kind)
    small.model.train()
    optimizer = torch.optim.SGD(small.model.parameters(), 0.1)
    small.model(images()).square().mean().backward()
    optimizer.step()
    found = load_pruned(small.save(tmp_path / "small"), KINDS[kind]())
    assert torch.equal(found.model(images()), small.model.eval()(images()))


def test_fresh_process_without_the_example_gives_equal_outputs(tmp_path: Path) -> None:
    small = pruned("graph")
    small.save(tmp_path / "small")
    torch.save([images(), small.model(images()).detach()], tmp_path / "expected.pt")
    program = (
        "import sys, torch, laconic\n"
        "from prune.networks import Padded\n"
        f"x, expected = torch.load({str(tmp_path / 'expected.pt')!r})\n"
        f"found = laconic.load_pruned({str(tmp_path / 'small')!r}, Padded())\n"
        "assert torch.equal(found.model(x), expected)\n"
        "print('equal')"
    )
    path = str(Path(__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", program], cwd=path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "equal", done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return pruned("graph").save(tmp_path / "small")


@pytest.mark.parametrize("file", [DESCRIPTION, PLAN_FILE, TENSOR_FILE, WEIGHTS])
def test_missing_truncated_or_changed_file_is_named(folder: Path, file: str) -> None:
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtifactError, match=f"{file}: damaged"):
        load_pruned(folder, Padded())
    (folder / file).unlink()
    with pytest.raises(ArtifactError, match=f"{file}: cannot be read"):
        load_pruned(folder, Padded())
    if file != DESCRIPTION:
        (folder / file).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(ArtifactError, match=f"{file}: damaged"):
            load_pruned(folder, Padded())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "another version of Laconic"),
        ({"shapes": []}, "does not describe a pruned model"),
        ({"sha256": {}}, "does not describe a pruned model"),
        ({"sha256": {PLAN_FILE: "", TENSOR_FILE: "", "../" + WEIGHTS: ""}}, "does not describe a pruned model"),
    ],
)
def test_description_that_makes_no_sense_is_refused(folder: Path, change: dict[str, object], said: str) -> None:
    content = json.loads((folder / DESCRIPTION).read_text())
    (folder / DESCRIPTION).write_text(json.dumps({**content, **change}))
    with pytest.raises(ArtifactError, match=said):
        load_pruned(folder, Padded())


def test_another_class_and_other_settings_are_named(folder: Path) -> None:
    with pytest.raises(ArtifactError, match="was made from a Padded, got a Plain"):
        load_pruned(folder, Plain())
    with pytest.raises(
        ArtifactError, match=r"whose stem\.weight has shape \[8, 3, 3, 3\], here it has \[12, 3, 3, 3\]"
    ):
        load_pruned(folder, Padded(12))
    more = Padded()
    more.extra = nn.Parameter(torch.zeros(2))
    with pytest.raises(ArtifactError, match=r"whose extra has shape None, here it has \[2\]"):
        load_pruned(folder, more)


def test_plan_that_this_pytorch_cannot_carry_out_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("laconic.core.program._is_harmless", lambda operator: "relu" not in str(operator))
    with pytest.raises(ArtifactError, match=r"cannot be rebuilt from this Padded\. Rewrite: got a call of 'aten\.relu"):
        load_pruned(folder, Padded())


def test_something_else_is_never_overwritten_and_an_older_model_is(tmp_path: Path) -> None:
    small = pruned("graph")
    (tmp_path / "mine").write_text("text")
    with pytest.raises(ArtifactError, match="holds 'mine'"):
        small.save(tmp_path)
    small.save(tmp_path / "a")
    small.save(tmp_path / "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "mine"]


def test_load_into_and_verify_know_the_folder(folder: Path) -> None:
    small = pruned("graph")
    assert torch.equal(laconic.load_into(Padded(), folder)(images()), small.model(images()))
    with pytest.raises(ArtifactError, match=r"is a saved pruned model, .* laconic\.load_pruned checks it"):
        laconic.verify(folder)


def test_graph_that_cannot_be_written_down_is_returned_with_a_note_and_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ModelError("custom calls an unknown thing.")

    monkeypatch.setattr(cutting, "rewritings", refuse)
    small = pruned("graph")
    assert any("cannot be saved: custom calls" in note for note in small.notes)
    torch.testing.assert_close(small.model(images()).shape, Padded()(images()).shape)
    with pytest.raises(ModelError, match=r"Pruned\.save: Padded has become a graph .* custom calls an unknown thing"):
        small.save(tmp_path / "small")
    assert not (tmp_path / "small").exists()


def test_structure_of_inputs_and_outputs_comes_back(tmp_path: Path) -> None:
    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(6, 12), nn.Linear(12, 2)

        def forward(self, batch, *, scale=None):
            y = functional.relu(self.up(batch["x"])).view(-1, 12)
            return {"y": self.down(y) * scale, "parts": [y.mean(1)]}

    x, scale = torch.randn(3, 6), torch.tensor(2.0)
    task_inputs = {"batch": {"x": x}, "scale": scale}
    small = laconic.prune(Nested(), task_inputs, ratio=0.4)
    assert small.kind == "graph"
    found = load_pruned(small.save(tmp_path / "small"), Nested()).model
    for model in (found, small.model):
        got = model(batch={"x": x}, scale=scale)
        assert got["y"].shape == (3, 2) and got["parts"][0].shape == (3,)
    assert torch.equal(found(**task_inputs)["y"], small.model(**task_inputs)["y"])
    with pytest.raises((KeyError, TypeError, ValueError)):
        found({"other": x}, scale=scale)


def test_plan_without_edits_is_saved_too(tmp_path: Path) -> None:
    small = laconic.prune(Plain(), images(), ratio=0.0)
    assert load_pruned(small.save(tmp_path / "small"), Plain()).plan == Plan()
