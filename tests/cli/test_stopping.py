"""Ctrl-C and kill at every stage of `laconic compress`: nothing half-written, and `--resume` ends in the same bytes."""

import signal
from pathlib import Path

import pytest

from laconic.export.artifact import verify

from .conftest import Laconic

MOMENTS = (
    ("begin original", signal.SIGINT),
    ("begin evidence", signal.SIGKILL),
    ("begin w8a8/plan", signal.SIGINT),
    ("begin w8a8/recover", signal.SIGINT),
    ("step 5", signal.SIGINT),
    ("step 9", signal.SIGKILL),
    ("begin w8a8/measure", signal.SIGINT),
    ("begin result", signal.SIGINT),
    ("amid the artifact", signal.SIGKILL),
    ("amid the artifact", signal.SIGINT),
)
JOB = ("compress", "nets:build", "--data", "nets:task", "--epochs", 2, "--seed", 3)


def model(out: Path) -> bytes:
    return (out / "artifact" / "model.onnx").read_bytes()


def test_a_run_that_is_stopped_and_killed_at_every_stage_ends_like_one_that_was_not(
    laconic: Laconic, tmp_path: Path
) -> None:
    out, straight, work = tmp_path / "out", tmp_path / "straight", tmp_path / "work"
    go_on = (*JOB, "--out", out, "--work", work, "--resume")
    for moment, number in MOMENTS:
        ran = laconic(*go_on, moment=moment, signal=number)
        if number == signal.SIGINT:
            assert ran.code == 1 and ran.line.startswith("stopped."), moment
        else:
            assert ran.code == -signal.SIGKILL, moment
        assert [path.name for path in tmp_path.iterdir()] == [
            "work"
        ]  # Nothing under the final name, nothing beside it.
    assert laconic(*go_on).code == 0
    assert laconic(*JOB, "--out", straight).code == 0
    assert model(out) == model(straight)
    assert sorted(path.name for path in out.iterdir()) == ["artifact", "report.html", "report.json", "report.md"]
    assert verify(out / "artifact").samples > 0


@pytest.mark.parametrize("moment", ["begin original", "step 2"])
def test_a_run_without_a_work_folder_leaves_nothing_at_all(laconic: Laconic, tmp_path: Path, moment: str) -> None:
    # That nothing stays in the temporary folder is held for all tests by the fixture.
    stopped = laconic(*JOB, "--out", tmp_path / "out", moment=moment, signal=signal.SIGINT)
    assert stopped.code == 1 and "stopped" in stopped.line
    assert list(tmp_path.iterdir()) == []


def test_stages_of_another_job_are_refused_and_a_finished_run_ends_at_once(laconic: Laconic, tmp_path: Path) -> None:
    work = ("--work", tmp_path / "work")
    begun = laconic(*JOB, *work, "--out", tmp_path / "out", moment="begin original", signal=signal.SIGKILL)
    assert begun.code == -signal.SIGKILL
    other = laconic(*JOB, *work, "--resume", "--size", "0.3", "--out", tmp_path / "out")
    assert other.code == 2 and "belongs to another job" in other.line
    unasked = laconic(*JOB, *work, "--out", tmp_path / "out")
    assert unasked.code == 2 and "--resume" in unasked.line


def test_resume_without_a_work_folder_is_wrong_usage(laconic: Laconic) -> None:
    ran = laconic(*JOB, "--resume")
    assert ran.code == 2 and "--work FOLDER" in ran.line
