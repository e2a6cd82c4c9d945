"""What becomes of a result that cannot be written where it was wanted."""

from pathlib import Path
from unittest.mock import Mock, patch

import pytest

from laconic.cli.compressing import _deliver
from laconic.core.errors import ArtifactError


def test_a_result_that_cannot_be_written_is_kept_elsewhere_and_the_error_says_where(tmp_path: Path) -> None:
    saved: list[Path] = []

    def save(folder: str | Path) -> Path:
        if Path(folder).name == "out":
            raise ArtifactError("out: No space left on device.")
        saved.append(Path(folder))
        return Path(folder)

    with patch("tempfile.tempdir", str(tmp_path)), pytest.raises(ArtifactError) as caught:
        _deliver(Mock(save=save), Path("out"), as_json=False)
    assert str(caught.value) == f"out: No space left on device. The result is kept in {saved[0]}."
    assert saved[0].is_dir() and saved[0].parent == tmp_path
