from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from laconic.core.errors import ArtifactError, TrainingError
from laconic.train.checkpoint import check_identity, identity, read_checkpoint, write_checkpoint

STATE = {"step": 3, "weights": torch.arange(5.0), "half": torch.ones(2).bfloat16(), "flags": torch.tensor([True])}


def written(folder: Path) -> Path:
    path = folder / "checkpoint.safetensors"
    write_checkpoint(path, STATE)
    return path


def test_a_checkpoint_reads_back_as_it_was_written(tmp_path: Path) -> None:
    state = read_checkpoint(written(tmp_path))
    assert state["step"] == 3
    assert all(torch.equal(state[name], STATE[name]) for name in ("weights", "half", "flags"))
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.safetensors"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_flipped_bit_anywhere_is_an_error_that_names_the_file(position: float, bit: int, tmp_path: Path) -> None:
    path = written(tmp_path)
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"checkpoint\.safetensors: damaged.*Delete it, or pass resume=False"):
        read_checkpoint(path)


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_truncated_file_is_an_error_that_names_the_file(kept: int, tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ArtifactError, match=r"checkpoint\.safetensors: damaged"):
        read_checkpoint(path)


def test_another_model_s_names_or_shapes_are_another_run(tmp_path: Path) -> None:
    ours, wider = identity(nn.Linear(2, 3), seed="0"), identity(nn.Linear(2, 4), seed="0")
    check_identity(tmp_path, ours, identity(nn.Linear(2, 3), seed="0"))
    with pytest.raises(TrainingError, match="its model was tensors"):
        check_identity(tmp_path, ours, wider)


def test_the_first_difference_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="checkpoint of another run: its seed was 0, now it is 1"):
        check_identity(tmp_path, {"seed": "0"}, {"seed": "1"})
