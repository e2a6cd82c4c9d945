from pathlib import Path

import pytest
import torch
from torch import nn

from laconic.core.errors import ArtifactError
from laconic.measure import file_bytes, module_bytes, parameter_count


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.head = nn.Linear(4, 10)
        self.head.weight = self.embedding.weight
        self.register_buffer("steps", torch.zeros(3, dtype=torch.int64))
        self.register_buffer("scratch", torch.zeros(100), persistent=False)


def test_a_file_counts_its_bytes_and_a_folder_those_of_all_files_below(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"x" * 10)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "weights").write_bytes(b"x" * 7)
    assert file_bytes(tmp_path / "model.onnx") == 10
    assert file_bytes(tmp_path) == 17


def test_nothing_there_is_an_error_that_names_the_path():
    with pytest.raises(ArtifactError, match=r"^nowhere.onnx: missing"):
        file_bytes(Path("nowhere.onnx"))


def test_tied_parameters_count_once():
    assert parameter_count(Tied()) == 40 + 10


def test_bytes_are_those_of_a_checkpoint_with_ties_once_buffers_and_no_scratch():
    assert module_bytes(Tied()) == (40 + 10) * 4 + 3 * 8
    assert module_bytes(Tied().half()) == (40 + 10) * 2 + 3 * 8
