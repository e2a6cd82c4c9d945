"""Loads every pattern that was saved under a folder and compares its outputs: `python -m zoo.reload FOLDER`."""

import sys
from pathlib import Path

import torch

from . import patterns
from .checks import reload


def main(folder: Path) -> None:
    """Prints the name of each pattern that computes what it did when it was saved; the first that does not raises."""
    torch.set_num_threads(1)
    for entry in patterns.ENTRIES:
        reload(entry, folder / entry.name)
        print(entry.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
