"""A bar that shows how far a run is."""

from __future__ import annotations

from types import TracebackType
from typing import Self, final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


@final
class Bar:
    """Shows step, loss and the time that is left on standard error, as long as that is a terminal.

    Args:
        title: what stands before the bar.
        console: where else to show it.

    Example:
        >>> with Bar() as bar:  # laconic.distill(..., progress=bar)
        ...     bar(1, 10, 0.5)
    """

    def __init__(self, title: str = "training", *, console: Console | None = None) -> None:
        console = console or Console(stderr=True)
        columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TextColumn("loss {task.fields[loss]}"))
        self._bar = Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, step: int, total: int, loss: float) -> None:
        """Moves the bar."""
        if self._task is None:
            self._task = self._bar.add_task("", total=total, loss="")
        self._bar.update(self._task, completed=step, loss=f"{loss:.4f}")
