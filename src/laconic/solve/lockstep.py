"""Several forward passes side by side: at every place that they name, each waits until all are there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from contextvars import Context
from typing import Any, final

from laconic.core.errors import ModelError

Action = Callable[[Any, list[Any]], Sequence[Any]]
END = object()


@final
class Lockstep:
    """Runs functions that stop at common places, where what they hold can be seen, and changed, all at once.

    Each runs in a thread of its own, since a model's forward pass cannot be left and entered again otherwise; only one
    of them runs at any time.

    Args:
        action: `(place, values) -> values`: called once all have called `meet` with the same place. Values are in the
            order of the functions.

    Example:
        >>> steps = Lockstep(lambda place, values: [sum(values)] * len(values))
        >>> found = []
        >>> steps.run([lambda: found.append(steps.meet("here", 1)), lambda: found.append(steps.meet("here", 2))])
        >>> found
        [3, 3]
    """

    def __init__(self, action: Action) -> None:
        self._action = action
        self._mine = threading.local()

    def run(self, functions: Sequence[Callable[[], object]]) -> None:
        """Runs the functions to their ends.

        Raises:
            ModelError: they did not come to the same places.
            Exception: the first that one of them, or the action, raised.
        """
        self._places: list[Hashable] = [None] * len(functions)
        self._values: list[Any] = [None] * len(functions)
        self._barrier = threading.Barrier(len(functions), self._all_there)
        self._turn = threading.Lock()
        self._failures: list[BaseException] = []
        threads = [
            threading.Thread(target=self._run_one, args=(index, function), daemon=True)
            for index, function in enumerate(functions)
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            self._barrier.abort()
        if self._failures:
            raise self._failures[0]

    def meet(self, place: Hashable, value: Any) -> Any:
        """Waits for the others; returns what the action gave for this function."""
        index = self._mine.index
        self._places[index], self._values[index] = place, value
        self._turn.release()
        try:
            self._barrier.wait()
        finally:
            self._turn.acquire()
        return self._values[index]

    def _run_one(self, index: int, function: Callable[[], object]) -> None:
        self._mine.index = index
        try:
            with self._turn:
                function()
                self.meet(END, None)
        except threading.BrokenBarrierError:
            pass  # Another one failed, and says why.
        except BaseException as error:
            self._failures.append(error)
            self._barrier.abort()

    def _all_there(self) -> None:
        place = self._places[0]
        if any(other != place for other in self._places):
            raise ModelError(
                "The model takes different paths for different batches or weights; expected the same layers in the "
                "same order. Compress its layers one by one."
            )
        if place is not END:
            # One of the passes is under way around this call: what it notes of its own layers is not told of others.
            self._values = list(Context().run(self._action, place, self._values))
