"""Compression of models whose inputs change their size from batch to batch: any size arrives, or is said to be one."""

import json

import pytest
import torch
from torch import Tensor, nn

from laconic.core.task import Task
from laconic.export.artifact import read_vectors, verify
from laconic.export.onnxruntime import Session
from laconic.pipeline import Result, compress

from .samples import at_once


class Sounds(nn.Module):
    """A convolution over time, and the mean of what it finds."""

    def __init__(self) -> None:
        super().__init__()
        self.listen = nn.Conv1d(1, 8, 3, padding=1)
        self.head = nn.Linear(8, 3)

    def forward(self, wave: Tensor) -> Tensor:
        return self.head(self.listen(wave).relu().mean(2))


class Frames(Sounds):
    """The same for 20 frames alone."""

    def forward(self, wave: Tensor) -> Tensor:
        return super().forward(wave.reshape(-1, 1, 20))


def sounds(length: int) -> tuple[Tensor, Tensor]:
    return torch.randn(8, 1, length), torch.arange(8) % 3


def compressed(model: nn.Module, task: Task) -> Result:
    torch.manual_seed(0)
    with at_once():
        return compress(model, task, recovery=None)


def test_lengths_that_differ_reach_the_artifact_its_vectors_and_the_report():
    result = compressed(Sounds(), Task(evaluate=[sounds(20), sounds(12)]))
    artifact = result.folder / "artifact"
    sizes = json.loads((artifact / "manifest.json").read_text())["sizes"]
    assert sizes == {"dynamic": {"wave": {"2": "length"}}, "largest": {}, "fixed": {}}
    vectors = read_vectors(artifact)
    assert [each.inputs[0].shape for each in vectors.each] == [(4, 1, 20), (4, 1, 10)]
    assert verify(artifact).samples == 8
    session = Session(artifact / "model.onnx")
    for length in (7, 20, 33):
        assert session.run([torch.randn(2, 1, length).numpy()]).shape == (2, 3)
    assert "length 20" in dict(result.report.methods)["Sizes of the inputs"]
    assert not any("takes one" in warning for warning in result.report.warnings)


def test_a_length_that_code_makes_a_constant_is_said_in_report_and_manifest():
    task = Task(evaluate=[sounds(20), sounds(20)], dynamic={"wave": {2: "frames"}})
    result = compressed(Frames(), task)
    (warning,) = [w for w in result.report.warnings if "takes one frames only" in w]
    sizes = json.loads((result.folder / "artifact" / "manifest.json").read_text())["sizes"]
    assert sizes["dynamic"] == {}
    assert sizes["fixed"]["frames"] in warning
    assert read_vectors(result.folder / "artifact").other is None
    assert "Sizes of the inputs" not in dict(result.report.methods)


def test_a_name_that_the_model_does_not_know_is_refused_before_anything_starts():
    with pytest.raises(ValueError, match=r"Task\.dynamic: got 'sound'; expected an input of the model: wave"):
        compressed(Sounds(), Task(evaluate=[sounds(20)], dynamic={"sound": {2: "length"}}))
