import errno
from unittest.mock import Mock

import pytest

from laconic.core.errors import ArtifactError, UsageError
from laconic.pipeline.progress import Silent
from laconic.pipeline.workspace import Workspace


def workspace(folder, job="job", resume=False):
    return Workspace(folder, job=job, resume=resume, progress=Silent())


def write(text):
    return lambda folder: (folder / "out.txt").write_text(text)


def test_a_finished_stage_is_not_made_again(tmp_path):
    first = workspace(tmp_path / "w").stage("one", write("first"))
    second = workspace(tmp_path / "w", resume=True).stage("one", write("second"))
    assert first == second and (second / "out.txt").read_text() == "first"


def test_a_stage_that_fails_is_absent_and_what_it_left_is_there_for_the_next_try(tmp_path):
    def fail(folder):
        (folder / "checkpoint").write_text("half")
        raise ValueError("half-way")

    place = workspace(tmp_path / "w")
    with pytest.raises(ValueError, match="half-way"):
        place.stage("one", fail)
    assert not (tmp_path / "w" / "one").exists()
    seen = []
    workspace(tmp_path / "w", resume=True).stage("one", lambda folder: seen.append((folder / "checkpoint").read_text()))
    assert seen == ["half"]


def test_an_earlier_run_is_not_overwritten_unasked(tmp_path):
    workspace(tmp_path / "w")
    with pytest.raises(UsageError, match="--resume"):
        workspace(tmp_path / "w")


def test_the_folder_of_another_job_is_refused(tmp_path):
    workspace(tmp_path / "w")
    with pytest.raises(UsageError, match="another job"):
        workspace(tmp_path / "w", job="other", resume=True)


def test_a_folder_with_the_users_own_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("...")
    with pytest.raises(UsageError, match="not made by Laconic"):
        workspace(tmp_path)


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot be written"):
        workspace(tmp_path / "file" / "w")


def test_seconds_are_kept_for_every_stage_in_order(tmp_path):
    place = workspace(tmp_path / "w")
    place.stage("one", write(""))
    place.stage("two/inner", write(""))
    assert list(place.seconds()) == ["one", "two/inner"]
    assert all(seconds >= 0 for seconds in place.seconds().values())


def test_what_was_being_written_when_the_process_was_killed_is_cleared_away_but_a_checkpoint_is_not(tmp_path):
    workspace(tmp_path / "w")
    half = tmp_path / "w" / "one.partial"
    (half / ".artifact.x1").mkdir(parents=True)
    (half / ".artifact.x1" / "model.onnx").write_text("half")
    (half / ".laconic-1.part").write_text("half")
    (half / "checkpoint").write_text("whole")
    made = workspace(tmp_path / "w", resume=True).stage("one", write("done"))
    assert sorted(path.name for path in made.iterdir()) == ["checkpoint", "out.txt", "seconds.json"]


def test_a_run_that_was_killed_before_it_said_what_its_job_is_starts_anew(tmp_path):
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / ".laconic-1.part").write_text("the job, not yet named")
    assert workspace(tmp_path / "w").stage("one", write("done")).exists()


def test_a_full_disk_in_a_stage_is_one_clear_error_with_file_and_stage(tmp_path):
    def fill(folder):
        raise OSError(errno.ENOSPC, "No space left on device", str(folder / "big"))

    with pytest.raises(ArtifactError, match=r"big: No space left on device, in stage one\."):
        workspace(tmp_path / "w").stage("one", fill)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "w").write_text("")
    with pytest.raises(UsageError, match="not made by Laconic"):
        workspace(tmp_path / "w")


def test_a_stage_is_announced_once_and_its_end_even_if_it_fails(tmp_path):
    heard = []
    listener = Mock(begin=lambda name: heard.append(f"begin {name}"), end=lambda: heard.append("end"))
    place = Workspace(tmp_path / "w", job="job", resume=False, progress=listener)
    place.stage("one", write(""))
    place.stage("one", write(""))
    with pytest.raises(ZeroDivisionError):
        place.stage("two", lambda _: 1 / 0)
    assert heard == ["begin one", "end", "begin two", "end"]
