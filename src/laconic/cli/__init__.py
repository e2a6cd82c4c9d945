"""The shell over everything else."""

from laconic.cli.main import app, main

__all__ = ["app", "main"]
