"""Export: lengths and image sizes that change from call to call, and models that take one only."""

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from laconic.core.errors import ExportError
from laconic.core.plan import Plan
from laconic.core.task import Batch, Task
from laconic.export.onnxruntime import Session, any_size, export


class Words(nn.Module):
    """Embeds, adds learnt positions of at most 40 words, mixes, and takes the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 8)
        self.positions = nn.Parameter(torch.randn(1, 40, 8))
        self.mix = nn.Conv1d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 3)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.embedding(ids) + self.positions[:, : ids.shape[1]]
        mixed = self.mix(x.transpose(1, 2)).transpose(1, 2)
        return self.head((mixed * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))


def words(size: int, length: int) -> dict[str, Tensor]:
    return {"ids": torch.randint(0, 30, (size, length)), "mask": torch.ones(size, length)}


def written(model: nn.Module, task: Task, path):
    batch = next(task.batches("evaluate"))
    return export(model.eval(), Plan(), task, batch, path / "model.onnx"), Session(path / "model.onnx")


def error(session: Session, model: nn.Module, *inputs: Tensor) -> float:
    with torch.no_grad():
        wanted = model(*inputs).numpy()
    return float(np.abs(session.run([x.numpy() for x in inputs]) - wanted).max())


@pytest.fixture(scope="module")
def differing(tmp_path_factory):
    model = Words()
    return model, *written(model, Task(evaluate=[words(2, 9), words(3, 6)]), tmp_path_factory.mktemp("words"))


def test_lengths_that_differ_between_batches_are_taken_as_they_come(differing):
    model, found, session = differing
    assert found.dynamic == {"ids": {1: "length"}, "mask": {1: "length"}}
    assert found.largest == {"length": 40}
    assert not found.fixed
    for size, length in ((1, 3), (4, 12), (2, 40)):
        assert error(session, model, *words(size, length).values()) < 1e-5
    for value in onnx.load(found.path).graph.input:
        assert [d.dim_param for d in value.type.tensor_type.shape.dim] == ["batch", "length"]


def test_a_length_beyond_the_learnt_positions_is_one_clear_line(differing):
    session = differing[-1]
    with pytest.raises(ExportError, match=r"fails on inputs int64\[1, 41\]") as caught:
        session.run([x.numpy() for x in words(1, 41).values()])
    assert "\n" not in str(caught.value)


def test_one_length_in_all_batches_is_the_only_one_unless_it_is_named(tmp_path):
    model, batches = nn.Conv1d(1, 2, 3), [torch.randn(2, 1, 9)]
    found, session = written(model, Task(evaluate=batches), tmp_path)
    assert found.dynamic == found.fixed == {}
    with pytest.raises(ExportError, match=r"takes input in one size, \['batch', 1, 9\]"):
        session.run([np.zeros((2, 1, 8), np.float32)])
    found, session = written(model, Task(evaluate=batches, dynamic={"input": {-1: "samples"}}), tmp_path)
    assert found.dynamic == {"input": {2: "samples"}}
    assert error(session, model, torch.randn(3, 1, 8)) < 1e-5


def test_images_of_any_height_and_width_go_through_a_fully_convolutional_network(tmp_path):
    class Segments(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fine = nn.Conv2d(3, 4, 3, padding=1)
            self.coarse = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1), nn.Upsample(scale_factor=2))
            self.head = nn.Conv2d(8, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            fine = self.fine(x).relu()
            return self.head(torch.cat([fine, self.coarse(fine)], 1))

    model = Segments()
    named = Task(evaluate=[torch.randn(2, 3, 8, 8)], dynamic={"x": {2: "height", 3: "width"}})
    found, session = written(model, named, tmp_path)
    assert not found.fixed
    assert error(session, model, torch.randn(3, 3, 20, 6)) < 1e-5
    dims = onnx.load(found.path).graph.output[0].type.tensor_type.shape.dim
    assert [d.dim_param for d in dims][2:] == ["height", "width"]


class Flat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8 * 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.reshape(x.shape[0], 24))


class Stepwise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        state = x[:, 0]
        for step in range(x.shape[1]):
            state = torch.tanh(self.cell(state) + x[:, step])
        return state


@pytest.mark.parametrize(
    ("model", "line", "why"),
    [
        (Flat, "return self.head(x.reshape(x.shape[0], 24))", "the model itself fails at another length"),
        (Stepwise, "for step in range(x.shape[1]):", "tracing makes it a constant"),
    ],
)
def test_a_length_that_the_code_fixes_stays_and_the_line_is_named(tmp_path, model, line, why):
    example = torch.randn(2, 8, 3)
    found, session = written(model(), Task(evaluate=[example], dynamic={"x": {1: "length"}}), tmp_path)
    assert found.dynamic == {}
    assert list(found.fixed) == ["length"]
    assert line in found.fixed["length"]
    assert found.fixed["length"].startswith(why)
    assert "\n" not in found.fixed["length"]
    assert [d.dim_value for d in onnx.load(found.path).graph.input[0].type.tensor_type.shape.dim] == [0, 8, 3]
    assert session.run([example.numpy()]).shape[0] == 2


def test_of_two_sizes_one_may_be_fixed_and_the_other_not(tmp_path):
    class Rows(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean(3) @ torch.ones(6, 2)

    model = Rows()
    task = Task(evaluate=[torch.randn(2, 3, 6, 8)], dynamic={"x": {2: "height", 3: "width"}})
    found, session = written(model, task, tmp_path)
    assert found.dynamic == {"x": {3: "width"}}
    assert list(found.fixed) == ["height"]
    assert error(session, model, torch.randn(1, 3, 6, 5)) < 1e-5


def test_a_file_that_answers_otherwise_at_another_length_is_not_taken(tmp_path):
    class Wavering(nn.Module):
        """Computes something else on short inputs, which a trace of a long one cannot know."""

        def forward(self, x: Tensor) -> Tensor:
            scale = 1.0 if torch.compiler.is_compiling() or x.shape[1] > 5 else 2.0
            return x.mean(1, keepdim=True) * scale

    found, _ = written(Wavering(), Task(evaluate=[torch.randn(4, 8)], dynamic={"x": {1: "length"}}), tmp_path)
    assert found.dynamic == {}
    assert found.fixed["length"].startswith("for inputs of [4, 4] the file's answers differ from the model's by")


def test_a_difference_counts_as_a_share_of_the_range_and_another_shape_as_infinite():
    assert any_size.difference(np.array([0.0, 4.5]), np.array([0.0, 4.0])) == 0.125
    assert any_size.difference(np.zeros(3), np.zeros(4)) == float("inf")


def test_a_batch_that_the_data_of_the_task_is_not_of_has_its_own_sizes(tmp_path):
    task = Task(evaluate=[torch.zeros(2, 4), torch.zeros(2, 5)])
    found = export(nn.Conv1d(1, 2, 3).eval(), Plan(), task, Batch(args=(torch.zeros(2, 1, 9),)), tmp_path / "m.onnx")
    assert found.dynamic == found.fixed == {}
