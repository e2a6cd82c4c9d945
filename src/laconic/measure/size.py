"""Bytes of files, and what a module holds."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from laconic.core.errors import ArtifactError


def file_bytes(path: Path) -> int:
    """Returns the bytes of a file, or of all files in a folder and below it.

    Raises:
        ArtifactError: there is nothing at that path.
    """
    if not path.exists():
        raise ArtifactError(f"{path}: missing; expected a file or a folder to measure.")
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(file.stat().st_size for file in files)


def parameter_count(module: nn.Module) -> int:
    """Returns the number of parameters; tied ones count once.

    Example:
        >>> parameter_count(nn.Linear(3, 2))
        8
    """
    return sum(p.numel() for p in module.parameters())


def module_bytes(module: nn.Module) -> int:
    """Returns the bytes of everything a checkpoint of the module holds, parameters and buffers; tied ones count once.

    Example:
        >>> module_bytes(nn.Linear(3, 2))
        32
    """
    state = module.state_dict(keep_vars=True).values()  # keep_vars gives the parameters themselves: ties stay visible
    tensors = {id(t): t for t in state if isinstance(t, Tensor)}
    return sum(t.numel() * t.element_size() for t in tensors.values())
