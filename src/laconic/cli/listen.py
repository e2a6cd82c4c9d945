"""Progress in a terminal; silence in a pipe."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from laconic.report import wording


class Terminal:
    """Shows the stages of a pipeline on standard error, as long as that is a terminal."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )

    def begin(self, stage: str) -> None:
        """Shows a stage as begun."""
        self._bar.start()
        self._task = self._bar.add_task(wording.stage(stage), total=None, note="")

    def step(self, done: int, total: int, note: str) -> None:
        """Moves the bar."""
        self._bar.update(self._task, completed=done, total=total, note=note)

    def end(self) -> None:
        """Takes the bar away."""
        self._bar.remove_task(self._task)
        self._bar.stop()

    def say(self, text: str) -> None:
        """Prints a line that stays, set apart from the stage that it belongs to."""
        if self.console.is_terminal:
            self.console.print(Padding(Text(text, style="dim"), (0, 0, 0, 2), expand=False))
