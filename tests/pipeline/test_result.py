"""A result is saved whole or not at all, over an older one but over nothing else, and its place is checked before."""

import errno
import os
from unittest.mock import patch

import pytest

from laconic.core.errors import ArtifactError
from laconic.export.artifact import verify
from laconic.pipeline import Result

from .samples import finished

PARTS = ["artifact", "report.html", "report.json", "report.md"]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_saved_result_holds_artifact_and_reports_and_nothing_else(tmp_path):
    result = finished().result
    assert result.save(str(tmp_path / "new" / "out")) == tmp_path / "new" / "out"
    assert names(tmp_path / "new") == ["out"] and names(tmp_path / "new" / "out") == PARTS
    for part in ("artifact/model.onnx", "report.html"):
        assert (tmp_path / "new" / "out" / part).read_bytes() == (result.folder / part).read_bytes()
    assert verify(tmp_path / "new" / "out" / "artifact").samples > 0


def test_an_older_result_is_replaced_as_a_whole(tmp_path):
    out = tmp_path / "out"
    finished().result.save(out)
    (out / "report.md").write_text("old")
    (out / "artifact" / "manifest.json").unlink()
    finished().result.save(out)
    assert names(out) == PARTS and (out / "report.md").read_text() != "old" and verify(out / "artifact")
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("older", [False, True])
def test_a_full_disk_leaves_the_older_result_or_nothing(tmp_path, older):
    out = tmp_path / "out"
    if older:
        finished().result.save(out)
        (out / "report.md").write_text("old")
    real, count = os.fsync, iter(range(100))

    def fsync(descriptor):
        if next(count) == 7:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    with patch("os.fsync", fsync), pytest.raises(ArtifactError, match="No space left on device"):
        finished().result.save(out)
    assert names(tmp_path) == (["out"] if older else [])
    assert not older or (out / "report.md").read_text() == "old"


def test_a_folder_of_the_users_own_is_not_replaced_and_that_is_known_before(tmp_path):
    (tmp_path / "thesis.tex").write_text("...")
    for refuse in (Result.check_place, finished().result.save):
        with pytest.raises(ArtifactError, match=r"holds 'thesis\.tex'"):
            refuse(tmp_path)
    Result.check_place(tmp_path / "new")
    assert names(tmp_path) == ["thesis.tex"]
