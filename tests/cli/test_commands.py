"""Every command on a good path: what it prints, in both forms, and its exit code."""

import json
import os
import pty
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from laconic.cli import commands
from laconic.report import Report

from . import nets
from .conftest import Laconic

NAMES = [command.__name__ for command in commands.ALL]


def test_the_commands_are_those_of_the_manual() -> None:
    without_training = ["prune", "quantize", "sparsify", "factorize", "price", "stream"]
    assert ["demo", "advise", "compress", *without_training, "distill", "bench", "report", "inspect", "verify"] == NAMES


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        ("demo", ["--out", "--seed"]),
        (
            "compress",
            ["MODEL", "--data", "[required]", "--weights", "safetensors", "--size", "2 MB", "--work", "Example"],
        ),
        ("advise", ["MODEL", "--data", "[required]", "--weights", "--size", "--latency", "--epochs", "Example"]),
        ("prune", ["MODEL", "--data", "[required]", "--weights", "--ratio", "--keep", "--dry-run", "Example"]),
        ("quantize", ["MODEL", "--data", "[required]", "--bits", "--activation-bits", "--in-order", "Example"]),
        ("sparsify", ["MODEL", "--data", "[required]", "--sparsity", "--pattern", "--bits", "--in-order", "Example"]),
        ("factorize", ["MODEL", "--data", "[required]", "--ratio", "--energy", "--rank", "--method", "Example"]),
        ("price", ["MODEL", "--data", "[required]", "--measure", "--size", "Example"]),
        ("distill", ["TEACHER", "STUDENT", "--data", "recipe", "--temperature"]),
        ("bench", ["MODEL...", "ONNX", "--threads"]),
        ("report", ["RESULT"]),
        ("inspect", ["ARTIFACT"]),
        ("verify", ["ARTIFACT"]),
    ],
)
def test_help_says_what_a_command_needs(laconic: Laconic, command: str, needed: list[str]) -> None:
    ran = laconic(command, "--help")
    assert ran.code == 0 and ran.err == ""
    assert "--json" in ran.out
    assert [word for word in needed if word not in ran.out] == []


def test_help_without_a_command_names_all_of_them_and_the_exit_codes(laconic: Laconic) -> None:
    ran = laconic("--help")
    assert ran.code == 0 and all(name in ran.out for name in NAMES)
    assert "0 done, 1 failed, 2 wrong usage, 3 budget" in ran.out
    assert laconic("--version").out.strip() == "0.1.0"


def test_advise_prints_words_and_writes_a_page_or_prints_one_object(laconic: Laconic, tmp_path: Path) -> None:
    call = ("advise", "nets:build", "--data", "nets:task", "--epochs", 0, "--out", tmp_path / "advice")
    shown = laconic(*call)
    assert shown.code == 0 and "recommended" in shown.out and "1. Store every weight in 8 bits" in shown.out
    assert sorted(path.name for path in (tmp_path / "advice").iterdir()) == ["advice.html", "advice.json", "advice.md"]
    found = laconic(*call, "--json").json
    assert found["feasible"] and found["command"] == "laconic compress nets:build --data nets:task --epochs 0"


def test_advise_refuses_a_folder_of_something_else_before_it_begins(laconic: Laconic, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    ran = laconic("advise", "nets:build", "--data", "nets:task", "--out", tmp_path)
    assert ran.code == 1 and "mine.txt" in ran.err and (tmp_path / "mine.txt").read_text() == "kept"


def test_compress_writes_artifact_and_report_and_shows_the_table(laconic: Laconic, result: Path) -> None:
    assert sorted(path.name for path in result.iterdir()) == ["artifact", "report.html", "report.json", "report.md"]
    found = Report.from_json(json.loads((result / "report.json").read_text()))
    assert found.command.startswith("laconic compress nets:build --data nets:task --epochs 1")
    shown = laconic("report", result)
    assert shown.code == 0 and "File size" in shown.out and "report.html" in shown.out and shown.err == ""
    assert "\x1b" not in shown.out  # No colours in a pipe.


def test_a_budget_that_is_not_met_is_exit_code_three_with_the_result_written(laconic: Laconic, tmp_path: Path) -> None:
    ran = laconic(
        "compress", "nets:build", "--data", "nets:task", "--epochs", 0, "--drop", 0, "--latency", "1 us", "--json",
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert ran.code == 3
    assert ran.json["met"] is False and ran.json["misses"] and ran.json["compressed"]["score"]
    assert laconic("verify", tmp_path / "out").code == 0


def test_compress_takes_a_folder_of_arrays_and_a_checkpoint(laconic: Laconic, arrays: Path, tmp_path: Path) -> None:
    save_file(nets.build().state_dict(), tmp_path / "net.safetensors")
    ran = laconic(
        "compress", "nets:build", "--data", arrays, "--weights", tmp_path / "net.safetensors", "--epochs", 0,
        "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    assert ran.code == 0 and ran.json["out"] == str(tmp_path / "out")


def test_verify_takes_the_result_or_the_artifact_in_it(laconic: Laconic, result: Path) -> None:
    for place in (result, result / "artifact"):
        ran = laconic("verify", place)
        assert ran.code == 0 and "6 files are as they were written" in ran.out and "4 test vectors agree" in ran.out
    assert laconic("verify", result, "--json").json["verified"] is True


def test_inspect_lists_files_weights_operators_and_plan(laconic: Laconic, result: Path) -> None:
    found = laconic("inspect", result, "--json").json
    assert found["files"]["model.onnx"] == (result / "artifact/model.onnx").stat().st_size
    codes = {row["name"]: row for row in found["weights"] if row["name"].endswith(".codes")}
    assert len(codes) == 2 and all(row["type"] == "INT8" and row["kernel"] for row in codes.values())
    assert sum(row["bytes"] for row in found["weights"]) < found["files"]["model.onnx"]
    assert any("8-bit" in edit for edit in found["plan"])
    shown = laconic("inspect", result)
    assert shown.code == 0 and "[batch,16]" in shown.out and "model.onnx" in shown.out


def test_bench_times_models_in_turn_and_says_the_ratio_to_the_first(
    laconic: Laconic, result: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.onnx"
    shutil.copy(result / "artifact/model.onnx", other)
    found = laconic("bench", other, result, "--seconds", 0.1, "--batch-size", 3, "--json").json
    assert list(found["models"]) == [str(other), str(result)] and found["batch_size"] == 3
    assert found["models"][str(other)]["ratio"] == 1 and found["models"][str(result)]["ratio"] > 0
    alone = laconic("bench", other, "--seconds", 0.1)  # Without test vectors inputs are made up.
    assert alone.code == 0 and "1.00x" in alone.out and "1 thread, batch 1" in alone.out


def test_distill_writes_the_students_weights_and_scores_both(laconic: Laconic, tmp_path: Path) -> None:
    out = tmp_path / "new" / "student.safetensors"
    asked = ("distill", "nets:build", "nets:narrow", "--data", "nets:task", "--epochs", 2, "--out", out)
    found = laconic(*asked, "--json").json
    assert found["out"] == str(out) and found["teacher"]["metric"] == found["student"]["metric"] == "accuracy"
    student = nets.narrow()
    student.load_state_dict(load_file(out))
    trained = load_file(out)
    shown = laconic(*asked, "--work", tmp_path / "work")
    assert shown.code == 0 and f"student: accuracy {found['student']['value']:.4f}" in shown.out
    assert all(torch.equal(trained[name], tensor) for name, tensor in load_file(out).items())
    stopped = laconic(*asked, "--seed", 1, "--work", tmp_path / "other", moment="step 3", signal=signal.SIGINT)
    assert stopped.code == 1 and "stopped" in stopped.line
    assert all(torch.equal(trained[name], tensor) for name, tensor in load_file(out).items())


def test_a_student_that_starts_anew_is_the_same_for_the_same_seed(laconic: Laconic, tmp_path: Path) -> None:
    def taught(name: str, seed: int) -> bytes:
        out = tmp_path / name
        ran = laconic(
            "distill", "nets:narrow", "nets:narrow", "--data", "nets:task", "--epochs", 1, "--seed", seed, "--out", out
        )  # fmt: skip
        assert ran.code == 0, ran
        return out.read_bytes()

    first = taught("first", 0)
    assert taught("again", 0) == first != taught("other", 1)


def _all_of(terminal: int) -> str:
    """Returns what is written to a terminal until its other end is closed."""
    seen = b""
    with suppress(OSError), open(terminal, "rb", buffering=0) as source:
        while part := source.read(2**12):
            seen += part
    return seen.decode()


def test_progress_is_shown_in_a_terminal_and_taken_away_again(laconic: Laconic, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    asked = ("distill", "nets:build", "nets:narrow", "--data", "nets:task", "--epochs", 100, "--out", tmp_path / "s")
    with ThreadPoolExecutor() as pool:  # It is read meanwhile: a terminal holds few bytes that nobody has read.
        reading = pool.submit(_all_of, ours)
        ran = laconic(*asked, terminal=os.ttyname(theirs))
        os.close(theirs)
        seen = reading.result()
    assert ran.code == 0 and "student: accuracy" in ran.out
    assert "distill" in seen and "loss" in seen
    assert seen.rindex("\x1b[2K") > seen.rindex("distill")  # The bar's line is cleared,
    assert seen.rindex("\x1b[?25h") > seen.rindex("\x1b[?25l")  # and the cursor is back.


@pytest.mark.slow
def test_the_demo_meets_its_budget_and_stops_when_it_is_told_to(laconic: Laconic, tmp_path: Path) -> None:
    stopped = laconic("demo", "--out", tmp_path / "out", moment="step 3", signal=signal.SIGINT)
    assert stopped.code == 1 and "stopped" in stopped.line and list(tmp_path.iterdir()) == []
    ran = laconic("demo", "--out", tmp_path / "out", "--json")
    assert ran.code == 0 and ran.json["met"] is True
    original, compressed = ran.json["original"], ran.json["compressed"]
    assert compressed["size_bytes"] <= original["size_bytes"] / 4
    assert compressed["score"]["predictions"] == 360
    assert original["score"]["value"] - compressed["score"]["value"] <= 0.006
    assert laconic("verify", tmp_path / "out").code == 0
