"""Folders that are whole or absent."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

from laconic.core.errors import ArtifactError


@contextlib.contextmanager
def replacing(folder: Path, known: Collection[str]) -> Iterator[Path]:
    """Yields an empty folder that takes the place of `folder` when the block ends well, and vanishes otherwise.

    Args:
        folder: the final place.
        known: names that an older folder there may hold; one with anything else in it is not ours to replace.

    Raises:
        ArtifactError: the place is taken by something else, or cannot be written.
    """
    folder = folder.absolute()
    with _said_of(folder):
        check_replaceable(folder, known)
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = _beside(folder)
        fresh.mkdir()
        try:
            yield fresh
            _put(fresh, folder)
        except ArtifactError as error:  # Names the place that people know, not the one it is written under.
            raise ArtifactError(str(error).replace(str(fresh), str(folder))) from error
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def check_replaceable(folder: Path, known: Collection[str]) -> None:
    """Refuses a place that holds anything but an older result, or that cannot be written.

    Raises:
        ArtifactError: says which.
    """
    folder = folder.absolute()
    with _said_of(folder):
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise ArtifactError(f"{folder}: is not a folder, and is not replaced. Choose another place.")
        foreign = sorted({path.name for path in folder.iterdir()} - set(known)) if folder.exists() else []
        if foreign:
            raise ArtifactError(f"{folder}: holds {foreign[0]!r}, which is not Laconic's. Choose a new folder.")
        nearest = next(parent for parent in folder.parents if parent.exists())
        tempfile.TemporaryFile(dir=nearest).close()


@contextlib.contextmanager
def _said_of(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ArtifactError(
            f"{folder}: cannot be written ({error.strerror or error}). Choose another place."
        ) from error


def _beside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.{secrets.token_hex(8)}")


def _put(fresh: Path, folder: Path) -> None:
    """Renames a folder to its final name; one that is there stays if that fails."""
    if not folder.exists():
        fresh.replace(folder)
        return
    old = _beside(folder)
    try:
        folder.replace(old)
        fresh.replace(folder)
    except BaseException:
        if not folder.exists():
            old.replace(folder)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
