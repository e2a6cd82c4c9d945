from pathlib import Path

import pytest

from laconic.core.errors import ArtifactError
from laconic.core.files import read_json
from laconic.report import Report, write_report

from . import samples


def test_the_folder_holds_the_page_the_markdown_and_the_data(tmp_path: Path) -> None:
    page = write_report(samples.digits(), tmp_path / "new" / "folder")
    assert page == tmp_path / "new" / "folder" / "report.html"
    assert sorted(path.name for path in page.parent.iterdir()) == ["report.html", "report.json", "report.md"]
    assert Report.from_json(read_json(page.parent / "report.json")) == samples.digits()


def test_writing_again_gives_the_same_bytes(tmp_path: Path) -> None:
    write_report(samples.digits(), tmp_path / "one")
    write_report(samples.missed(), tmp_path / "two")
    write_report(samples.digits(), tmp_path / "two")
    for name in ("report.html", "report.md", "report.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_folder_that_cannot_be_made_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(ArtifactError, match="taken"):
        write_report(samples.digits(), tmp_path / "taken")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
