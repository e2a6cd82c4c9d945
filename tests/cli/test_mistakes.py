"""A user's mistakes: one line that says what, where and what to do, the right exit code, never a traceback."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from . import nets
from .conftest import Laconic

FAILED, WRONG_USAGE = 1, 2
GOOD = ("compress", "nets:build", "--data", "nets:task", "--epochs", 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nope:build"], "MODEL: module 'nope' cannot be imported"),
        (["nets:nope"], "MODEL: nets has no function 'nope'"),
        (["nets:NOT_A_FUNCTION"], "MODEL: nets has no function 'NOT_A_FUNCTION'"),
        (["nets"], "expected module:function, such as my_nets:build"),
        (["nets:"], "expected module:function"),
        (["nets:raising"], r"nets:raising failed (FileNotFoundError: net.cfg)"),
        (["nets:no_module"], "returned str; expected a torch.nn.Module"),
        (["nets:build", "--data", "nets:misspelt"], "unexpected keyword argument 'metrics'"),
        (["nets:build", "--data", "nets:no_module"], "expected a Task, a dict or (train, evaluate)"),
        (["nets:build", "--data", "nowhere/"], "'nowhere/' is neither a folder nor module:function"),
        (["nets:build", "--size", "3 XB"], "Budget.size: got '3 XB'; expected one of the units B, KB, MB"),
        (["nets:build", "--size", "0"], "A limit must be positive"),
        (["nets:build", "--size=-0.5"], "A limit must be positive"),
        (["nets:build", "--size", "25"], "for 50 % write 0.5"),
        (["nets:build", "--latency", "soon"], "Budget.latency: got 'soon'"),
        (["nets:build", "--drop=-1"], "For one point of accuracy write 0.01"),
        (["nets:build", "--target", "abacus"], "Target.runtime: got 'abacus'; expected one of onnxruntime"),
        (["nets:build", "--target", "onnxruntime:threads=none"], "expected runtime:threads=N,batch_size=N"),
        (["nets:build", "--dynamic", "length"], "--dynamic: got 'length'; expected a name, and inputs with"),
        (["nets:build", "--dynamic", "n=ids:1"], "Task.dynamic: got 'ids'; expected an input of the model: "),
        (["nets:build", "--metric", "beauty"], "got 'beauty'; expected one of 'accuracy', 'cross entropy', 'mse'"),
    ],
)
def test_wrong_usage_is_exit_code_two(laconic: Laconic, tmp_path: Path, arguments: list[str], words: str) -> None:
    data = () if "--data" in arguments else ("--data", "nets:task")
    ran = laconic("compress", *arguments, *data, "--epochs", 0, "--out", tmp_path / "out")
    assert ran.code == WRONG_USAGE and words in ran.line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [["--nonsense"], ["nonsense"], ["compress"], ["bench"], ["compress", "nets:build"]]
)
def test_a_command_line_that_makes_no_sense_is_exit_code_two_and_points_to_help(
    laconic: Laconic, arguments: list[str]
) -> None:
    ran = laconic(*arguments)
    assert ran.code == WRONG_USAGE and "--help" in ran.err and ran.out == "" and "Traceback" not in ran.err


@pytest.mark.parametrize(
    ("model", "data", "words"),
    [
        ("nets:without_weights", "nets:task", "Sequential: has no parameters"),
        ("nets:not_a_number", "nets:task", "0.weight: holds NaN or infinity"),
        ("nets:build", "nets:empty", "Task.evaluate: the loader yields no samples"),
        ("nets:build", "nets:misshapen", "refuses a batch with inputs of shape [64, 15] (float32)"),
        ("nets:build", "nets:out_of_range", "expected 0 to 3 for the model's 4 classes"),
        ("nets:build", "nets:shuffled", "Turn off shuffling"),
    ],
)
def test_models_and_data_that_do_not_fit_are_exit_code_one(
    laconic: Laconic, tmp_path: Path, model: str, data: str, words: str
) -> None:
    ran = laconic("compress", model, "--data", data, "--epochs", 0, "--out", tmp_path / "out")
    assert ran.code == FAILED and words in ran.line
    assert list(tmp_path.iterdir()) == []


class Payload:
    """Unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["net.pt", "net.pkl", "net.safetensors", "net"])
def test_a_checkpoint_with_code_is_refused_and_the_code_not_run(laconic: Laconic, tmp_path: Path, name: str) -> None:
    for write in (torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))):
        write({"0.weight": Payload(tmp_path / "broken-in")}, tmp_path / name)
        ran = laconic(*GOOD, "--weights", tmp_path / name, "--out", tmp_path / "out")
        assert ran.code == FAILED and name in ran.line
        assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_checkpoint_that_does_not_fit_is_said_with_the_first_name(laconic: Laconic, tmp_path: Path) -> None:
    state = nets.build().state_dict()
    few = {name: tensor for name, tensor in state.items() if name != "3.bias"}
    wide = {**state, "3.weight": torch.zeros(4, 65)}
    for content, words in (
        (few, "lacks 1 of the model's tensors, first '3.bias'"),
        ({**state, "more": torch.zeros(1)}, "has 1 tensors the model lacks, first 'more'"),
        (wide, "size mismatch for 3.weight"),
    ):
        save_file(content, tmp_path / "net.safetensors")
        torch.save({"state_dict": content}, tmp_path / "net.pt")
        for name in ("net.safetensors", "net.pt"):
            ran = laconic(*GOOD, "--weights", tmp_path / name)
            assert ran.code == FAILED and words in ran.line and name in ran.line


def test_a_checkpoint_that_is_damaged_or_missing_is_named(laconic: Laconic, tmp_path: Path) -> None:
    save_file(nets.build().state_dict(), tmp_path / "net.safetensors")
    torch.save(nets.build().state_dict(), tmp_path / "net.pt")
    for name in ("net.safetensors", "net.pt"):
        whole = (tmp_path / name).read_bytes()
        for length in (0, 10, len(whole) // 2, len(whole) - 1):
            (tmp_path / name).write_bytes(whole[:length])
            ran = laconic(*GOOD, "--weights", tmp_path / name)
            assert ran.code == FAILED and name in ran.line, length
    for name in ("nowhere.pt", "nowhere.safetensors", ""):
        ran = laconic(*GOOD, "--weights", tmp_path / name)
        assert ran.code == FAILED and str(tmp_path / name) in ran.line
    torch.save([1, 2], tmp_path / "list.pt")
    assert "holds no state dict" in laconic(*GOOD, "--weights", tmp_path / "list.pt").line


def test_a_folder_of_arrays_that_is_not_right_is_said_with_the_file(
    laconic: Laconic, arrays: Path, tmp_path: Path
) -> None:
    def refused(words: str) -> None:
        ran = laconic("compress", "nets:build", "--data", arrays, "--epochs", 0, "--out", tmp_path / "out")
        assert ran.code == FAILED and words in ran.line

    y = np.load(arrays / "test_y.npy")
    np.save(arrays / "test_y.npy", y[:-1])
    refused("test_x has 64 samples, test_y has 63")
    np.save(arrays / "test_y.npy", np.array([Payload(tmp_path / "broken-in")] * 64, dtype=object), allow_pickle=True)
    refused("test_y.npy: not readable as a plain .npy array")
    np.save(arrays / "test_y.npy", y.astype(str))
    refused("test_y.npy")
    np.save(arrays / "test_y.npy", np.array(3))
    refused("test_y.npy")
    (arrays / "test_y.npy").write_bytes(b"not an array")
    refused("test_y.npy")
    (arrays / "test_y.npy").unlink()
    refused("test_y.npy: is missing; a folder of data holds train_x.npy, train_y.npy, test_x.npy, test_y.npy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["arrays"]


@pytest.mark.parametrize("command", ["verify", "inspect", "report"])
def test_a_path_without_a_result_is_said(laconic: Laconic, tmp_path: Path, command: str) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "nowhere", tmp_path, tmp_path / "file"):
        for options in ((), ("--json",)):
            ran = laconic(command, place, *options)
            assert ran.code == FAILED and str(place) in ran.line


def test_a_damaged_artifact_fails_verify_and_inspect_with_the_file(
    laconic: Laconic, result: Path, tmp_path: Path
) -> None:
    copied = shutil.copytree(result, tmp_path / "copy")
    model = copied / "artifact" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    for command in ("verify", "inspect"):
        ran = laconic(command, copied)
        assert ran.code == FAILED and "model.onnx: damaged" in ran.line


def test_a_damaged_report_is_said(laconic: Laconic, tmp_path: Path) -> None:
    for content in ("", "{}", "[]", "null", '{"title": 3}'):
        (tmp_path / "report.json").write_text(content)
        ran = laconic("report", tmp_path)
        assert ran.code == FAILED and "report.json" in ran.line, content


def test_bench_refuses_what_is_no_model(laconic: Laconic, result: Path, tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("not a model")
    for arguments, code, words in (
        ([tmp_path / "nowhere"], FAILED, "no model is there"),
        ([tmp_path], FAILED, "no model is there"),
        ([tmp_path / "text.onnx"], FAILED, "text.onnx: cannot be"),
        ([result, result], WRONG_USAGE, "named twice"),
    ):
        ran = laconic("bench", *arguments, "--seconds", 0.1)
        assert ran.code == code and words in ran.line


@pytest.mark.parametrize(
    "command",
    [
        ("compress", "nets:build", "--data", "nets:task"),
        ("distill", "nets:build", "nets:narrow", "--data", "nets:task"),
        ("demo",),
    ],
)
def test_a_place_that_cannot_be_written_is_said_before_the_work(
    laconic: Laconic, tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "file").write_text("mine")
    ran = laconic(*command, "--out", tmp_path / "file" / "below")
    assert ran.code == FAILED and "cannot be written" in ran.line
    (tmp_path / "folder" / "notes").mkdir(parents=True)
    ran = laconic(*command, "--out", tmp_path / "folder")
    assert ran.code == FAILED and str(tmp_path / "folder") in ran.line
    assert (tmp_path / "folder" / "notes").is_dir() and (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "command",
    [
        ("distill", "nets:hollow", "nets:narrow"),
        ("distill", "nets:build", "nets:hollow"),
        ("quantize", "nets:hollow"),
        ("factorize", "nets:hollow"),
        ("price", "nets:hollow"),
    ],
)
def test_a_model_whose_weights_were_never_loaded_is_said_by_every_command(
    laconic: Laconic, tmp_path: Path, command: tuple[str, ...]
) -> None:
    out = () if command[0] == "price" else ("--out", tmp_path / "out")
    ran = laconic(*command, "--data", "nets:task", *out)
    assert ran.code == FAILED and "0.weight: is on the meta device, without values. Load the weights" in ran.line
    assert list(tmp_path.iterdir()) == []


def test_a_student_does_not_take_the_place_of_a_device(laconic: Laconic) -> None:
    ran = laconic("distill", "nets:build", "nets:narrow", "--data", "nets:task", "--out", "/dev/null")
    assert ran.code == FAILED and "/dev/null: is a device or the like" in ran.line


def test_a_work_folder_that_cannot_be_written_is_said(laconic: Laconic, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = laconic(*GOOD, "--work", tmp_path / "file" / "below", "--out", tmp_path / "out")
    assert ran.code == FAILED and "cannot be written" in ran.line
    assert laconic(*GOOD, "--work", tmp_path / "file", "--out", tmp_path / "out").code == WRONG_USAGE
