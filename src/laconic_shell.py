"""What the `laconic` command starts: Ctrl-C is one line even while everything is still being imported."""

from __future__ import annotations

import sys


def main() -> None:
    """Imports the shell, which takes seconds, and runs it."""
    try:
        from laconic.cli import main as shell
    except KeyboardInterrupt:
        sys.exit("laconic: stopped. Nothing had begun yet.")
    shell()
