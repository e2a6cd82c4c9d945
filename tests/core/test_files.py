import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from laconic.core.errors import ArtifactError
from laconic.core.files import (
    read_bytes,
    read_json,
    read_tensors,
    sha256,
    write_bytes,
    write_json,
    write_tensors,
    write_text,
)


def fail_with(error: BaseException) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_bytes(tmp_path / "bytes", b"\x00\xff")
    write_text(tmp_path / "text", "né 中")
    write_json(tmp_path / "json", {"é": [1, 2.5, None, "中"]})
    assert read_bytes(tmp_path / "bytes") == b"\x00\xff"
    assert (tmp_path / "text").read_text(encoding="utf-8") == "né 中"
    assert read_json(tmp_path / "json") == {"é": [1, 2.5, None, "中"]}


def test_missing_folders_are_made(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a" / "b" / "c", b"x")
    assert read_bytes(tmp_path / "a" / "b" / "c") == b"x"


def test_a_second_write_replaces_the_first_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    write_bytes(tmp_path / "file", b"first, and longer")
    write_bytes(tmp_path / "file", b"second")
    assert read_bytes(tmp_path / "file") == b"second"
    assert names(tmp_path) == ["file"]


def test_the_umask_is_respected(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "file", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("where", ["fsync", "replace"])
@pytest.mark.parametrize("existing", [True, False])
def test_a_full_disk_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, existing: bool
) -> None:
    path = tmp_path / "file"
    if existing:
        write_bytes(path, b"old")
    monkeypatch.setattr(*{"fsync": (os, "fsync"), "replace": (Path, "replace")}[where], fail_with(FULL))
    with pytest.raises(ArtifactError, match=r"file: cannot be written \(No space left on device\). Free some space"):
        write_bytes(path, b"new")
    assert names(tmp_path) == (["file"] if existing else [])
    assert not existing or read_bytes(path) == b"old"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_really_is_full_is_told_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda path, mode: real(Path("/dev/full"), "wb"))
    with pytest.raises(ArtifactError, match=r"file: cannot be written \(No space left on device\)"):
        write_bytes(tmp_path / "file", b"x" * 100_000)
    assert names(tmp_path) == []


def test_an_interrupt_while_writing_passes_and_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bytes(tmp_path / "file", b"old")
    monkeypatch.setattr(os, "fsync", fail_with(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "file", b"new")
    assert names(tmp_path) == ["file"]
    assert read_bytes(tmp_path / "file") == b"old"


def test_a_folder_that_cannot_be_made_is_told_by_name(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("a file, not a folder")
    with pytest.raises(ArtifactError, match=r"plain/inside/file: cannot be written \(Not a directory\)"):
        write_bytes(tmp_path / "plain" / "inside" / "file", b"x")


def test_a_folder_in_the_files_place_is_told_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(ArtifactError, match=r"file: cannot be written \(Is a directory\)"):
        write_bytes(tmp_path / "file", b"x")
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("read", [read_bytes, read_json, read_tensors])
def test_a_missing_file_is_told_by_name(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    with pytest.raises(ArtifactError, match=r"gone: cannot be read \(No such file or directory\)"):
        read(tmp_path / "gone")
    with pytest.raises(ArtifactError, match=r"cannot be read \(Is a directory\)"):
        read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"a": 1', b"[" * 100_000, b"9" * 10_000])
def test_what_is_not_json_is_told_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ArtifactError, match="file: damaged, not readable as JSON"):
        read_json(tmp_path / "file")


@pytest.mark.parametrize("content", [{"x": float("nan")}, {"x": float("inf")}])
def test_json_that_others_cannot_read_is_not_written(tmp_path: Path, content: Any) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "file", content)
    assert names(tmp_path) == []


TENSORS = {
    "float32": torch.randn(3, 4),
    "bfloat16": torch.randn(3).bfloat16(),
    "uint8": torch.arange(5, dtype=torch.uint8),
    "int64": torch.arange(5),
    "empty": torch.zeros(0, 3),
    "scalar": torch.tensor(2.0),
    "transposed": torch.randn(3, 4).T,
    "odd name: ä/.. 中": torch.ones(1),
}


def test_tensors_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_tensors(tmp_path / "file", TENSORS)
    found = read_tensors(tmp_path / "file")
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], t) and found[name].dtype == t.dtype for name, t in TENSORS.items())


def test_tensors_that_share_memory_are_each_written(tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    tensors: dict[str, Tensor] = {"a": whole, "b": whole, "part": whole[2:4], "parameter": torch.nn.Parameter(whole)}
    write_tensors(tmp_path / "file", tensors)
    found = read_tensors(tmp_path / "file")
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_the_same_tensors_give_the_same_bytes(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a", TENSORS)
    write_tensors(tmp_path / "b", TENSORS)
    assert read_bytes(tmp_path / "a") == read_bytes(tmp_path / "b")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_a_truncated_tensor_file_is_told_by_name(tmp_path: Path, share: float) -> None:
    write_tensors(tmp_path / "file", TENSORS)
    content = read_bytes(tmp_path / "file")
    (tmp_path / "file").write_bytes(content[: int(share * len(content))])
    with pytest.raises(ArtifactError, match="file: damaged, not readable as safetensors"):
        read_tensors(tmp_path / "file")


def test_sha256_is_the_published_one() -> None:
    assert sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
