"""Where files are kept that can be made again."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "LACONIC_CACHE"


def cache_folder(environment: Mapping[str, str] | None = None, platform: str = sys.platform) -> Path:
    """Returns the user's folder for caches; it need not exist yet.

    `LACONIC_CACHE` where it is set; else what the system suggests: `$XDG_CACHE_HOME` or `~/.cache` on Linux,
    `~/Library/Caches` on macOS, `%LOCALAPPDATA%` on Windows, and `laconic` in it.

    Args:
        environment: None: the process's.
        platform: as `sys.platform`.

    Example:
        >>> cache_folder({"LACONIC_CACHE": "somewhere"}).name
        'somewhere'
    """
    environment = os.environ if environment is None else environment
    if own := environment.get(VARIABLE):
        return Path(own)
    if platform == "win32":
        place = environment.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif platform == "darwin":
        place = str(Path.home() / "Library" / "Caches")
    else:
        place = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(place) / "laconic"
