"""Export: inputs, batch sizes, what is left behind, what cannot be exported."""

import subprocess
import sys
import warnings

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from export.samples import TASK, Convolutional, Text, batch_of, exported, recoded, text_batch
from laconic.core.errors import ArtifactError, ExportError, ModelError, UsageError
from laconic.core.plan import Plan
from laconic.core.task import Batch
from laconic.export.onnxruntime import Session, export, exporting, peak


def test_another_batch_size_runs_than_the_one_it_was_exported_with(tmp_path):
    model = Convolutional()
    pair = exported(model, recoded(model), batch_of(1, 3, 12, 12), tmp_path)
    assert pair.exported.dynamic_batch
    for size in (1, 5):
        assert pair.error(batch_of(size, 3, 12, 12)) < 1e-5


def test_a_model_that_fixes_its_batch_size_is_exported_with_it_and_says_so(tmp_path):
    class Fixed(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).reshape(3, -1)[:, :2]

    pair = exported(Fixed(4, 4), Plan(), batch_of(3, 4), tmp_path)
    assert not pair.exported.dynamic_batch
    assert pair.error(batch_of(3, 4)) < 1e-6


def test_inputs_keep_their_names_and_order(tmp_path):
    pair = exported(Text(), Plan(), text_batch(), tmp_path)
    assert pair.exported.input_names == pair.session.input_names == ("ids", "mask")
    assert pair.error(text_batch(5)) < 1e-5
    model = onnx.load(tmp_path / "model.onnx")
    assert [v.name for v in model.graph.output] == ["logits"]
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"


def test_an_input_named_like_a_parameter_keeps_clear_of_it(tmp_path):
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.x = nn.Parameter(torch.randn(4, 4))
            self.logits = nn.Parameter(torch.randn(4, 4))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.logits @ self.x

    pair = exported(Named(), Plan(), batch_of(2, 4), tmp_path)
    assert pair.exported.input_names == ("x_input",)
    assert pair.error(batch_of(2, 4)) < 1e-5


def test_export_prints_nothing_and_leaves_the_network_as_it_was(tmp_path, capfd):
    model = Convolutional().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export(model, Plan(), TASK, batch_of(2, 3, 12, 12), tmp_path / "model.onnx")
    assert capfd.readouterr() == ("", "")
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_file_tells_nothing_about_where_it_was_made(tmp_path):
    model = Convolutional()
    export(model, Plan(), TASK, batch_of(2, 3, 12, 12), tmp_path / "model.onnx")
    content = (tmp_path / "model.onnx").read_bytes()
    assert b".py" not in content
    assert str(tmp_path).encode() not in content


def test_an_operator_unknown_to_onnx_is_one_line_that_names_it(tmp_path):
    class Unknown(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return torch.linalg.svdvals(super().forward(x)[..., None] * x[:, None])

    with pytest.raises(ExportError, match=r"^export to ONNX: Unknown: .*svd.*keep the model in PyTorch\.$") as caught:
        export(Unknown(4, 4), Plan(), TASK, batch_of(2, 4), tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_cannot_be_captured_is_called_by_its_name(tmp_path):
    class Branching(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if x.sum() > 0 else x

    with pytest.raises(ModelError, match="Branching cannot be exported"):
        export(Branching(4, 4), Plan(), TASK, batch_of(2, 4), tmp_path / "model.onnx")


def test_a_number_format_that_the_runtime_lacks_is_an_export_error(tmp_path):
    model = nn.Conv2d(3, 8, 3).bfloat16()
    with pytest.raises(ExportError, match=r"refuses the model .*bfloat16"):
        export(model, Plan(), TASK, Batch(args=(torch.zeros(1, 3, 8, 8).bfloat16(),)), tmp_path / "model.onnx")


def test_a_model_too_large_for_one_file_is_an_export_error(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "_LARGEST_FILE", 100)
    with pytest.raises(ExportError, match="at most 2 GB"):
        export(nn.Linear(8, 8), Plan(), TASK, batch_of(2, 8), tmp_path / "model.onnx")


def test_an_unwritable_place_is_an_artifact_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot be written"):
        export(nn.Linear(4, 2), Plan(), TASK, batch_of(2, 4), tmp_path / "file" / "model.onnx")


@pytest.fixture
def session(tmp_path):
    return exported(nn.Linear(4, 2), Plan(), batch_of(2, 4), tmp_path).session


def test_a_session_wants_as_many_arrays_as_the_model_has_inputs(session):
    with pytest.raises(UsageError, match="expected 1 arrays: input"):
        session.run([])


def test_a_session_names_the_shape_that_it_fails_on(session):
    with pytest.raises(ExportError, match=r"float32\[2, 5\]"):
        session.run([np.zeros((2, 5), np.float32)])


def test_a_damaged_file_is_an_artifact_error_that_names_it(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(ArtifactError, match=r"model\.onnx: cannot be loaded"):
        Session(path)


def test_a_session_wants_at_least_one_thread(tmp_path):
    with pytest.raises(UsageError, match="threads"):
        Session(tmp_path / "model.onnx", threads=0)


def test_the_script_for_peak_memory_runs_a_model_without_pytorch_or_laconic(tmp_path):
    exported(Text(), Plan(), batch := text_batch(), tmp_path)
    np.savez(tmp_path / "inputs.npz", *[tensor.numpy() for tensor in batch.inputs])
    check = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__'); "
    check += "sys.exit(not {'torch', 'laconic'}.isdisjoint(sys.modules))"
    command = [sys.executable, "-c", check, peak.__file__, str(tmp_path / "model.onnx"), str(tmp_path / "inputs.npz")]
    assert subprocess.run(command, check=False).returncode == 0


def test_an_input_keeps_its_name_where_a_value_in_between_has_it(tmp_path):
    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.logits = nn.Linear(6, 6)

        def forward(self, cat: Tensor, logits: Tensor) -> Tensor:
            return torch.cat([self.logits(cat), logits], 1).relu()

    batch = Batch(args=(torch.randn(2, 6), torch.randn(2, 6)))
    pair = exported(Joined(), Plan(), batch, tmp_path)
    assert pair.exported.input_names == ("cat", "logits")
    assert pair.error(batch) < 1e-5


def test_inputs_of_another_size_are_refused_with_the_size_that_fits(tmp_path):
    pair = exported(nn.Sequential(nn.Conv1d(3, 4, 3), nn.AdaptiveAvgPool1d(1)), Plan(), batch_of(2, 3, 12), tmp_path)
    words = r"takes input in one size, \['batch', 3, 12\]: pad or cut all samples to it"
    with pytest.raises(ExportError, match=words):
        Session(pair.exported.path).run([np.zeros((2, 3, 14), np.float32)])
