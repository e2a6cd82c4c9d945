import threading
from contextvars import ContextVar

import pytest

from laconic.core.errors import ModelError
from laconic.solve.lockstep import Lockstep


def test_values_come_in_the_order_of_the_functions_and_each_gets_its_own_back() -> None:
    seen, found = [], {}

    def double(place: str, values: list[int]) -> list[int]:
        seen.append((place, list(values)))
        return [2 * value for value in values]

    steps = Lockstep(double)

    def function(index: int) -> None:
        value = steps.meet("first", index)
        found[index] = steps.meet("second", value + 1)

    steps.run([lambda index=index: function(index) for index in range(3)])
    assert seen == [("first", [0, 1, 2]), ("second", [1, 3, 5])]
    assert found == {0: 2, 1: 6, 2: 10}


def test_the_action_does_not_see_what_a_function_notes_for_itself() -> None:
    """As transformers collects what its layers answer: layers run by the action are no part of a function's pass."""
    notes: ContextVar[list[str] | None] = ContextVar("notes", default=None)
    seen: list[list[str] | None] = []

    def action(place: str, values: list[int]) -> list[int]:
        seen.append(notes.get())
        return values

    steps = Lockstep(action)

    def function() -> None:
        notes.set([])
        steps.meet("here", 1)

    steps.run([function, function])
    assert seen == [None]


def test_only_one_function_runs_at_a_time() -> None:
    steps, inside, most = Lockstep(lambda place, values: values), [], []

    def function() -> None:
        for place in range(20):
            inside.append(1)
            most.append(len(inside))
            sum(range(1000))
            inside.pop()
            steps.meet(place, None)

    steps.run([function] * 4)
    assert max(most) == 1


def test_what_the_action_raises_reaches_the_caller() -> None:
    def fail(place: str, values: list[int]) -> list[int]:
        raise ZeroDivisionError("at " + place)

    steps = Lockstep(fail)
    with pytest.raises(ZeroDivisionError, match="at here"):
        steps.run([lambda: steps.meet("here", 0)] * 3)


def test_what_one_function_raises_ends_the_others() -> None:
    steps, waited = Lockstep(lambda place, values: values), []

    def waiting() -> None:
        waited.append(threading.current_thread())
        steps.meet("here", 0)

    def failing() -> None:
        raise KeyError("this one")

    with pytest.raises(KeyError, match="this one"):
        steps.run([waiting, failing, waiting])
    assert len(waited) == 2
    assert not any(thread.is_alive() for thread in waited)


@pytest.mark.parametrize("other", [["there"], [], ["here", "there"]])
def test_functions_that_come_to_different_places_are_an_error_and_no_deadlock(other: list[str]) -> None:
    steps = Lockstep(lambda place, values: values)
    with pytest.raises(ModelError, match="different paths"):
        steps.run([lambda: steps.meet("here", 0), lambda: [steps.meet(place, 0) for place in other]])


def test_it_can_run_again_after_a_failure() -> None:
    steps = Lockstep(lambda place, values: values)
    with pytest.raises(ZeroDivisionError):
        steps.run([lambda: steps.meet("here", 1 / 0), lambda: None])
    found = []
    steps.run([lambda: found.append(steps.meet("here", 5))])
    assert found == [5]
