import sqlite3
import threading
from pathlib import Path

import pytest

from laconic.core.errors import ArtifactError, LaconicError, UsageError
from laconic.select.reinforcement import Reinforcement
from laconic.select.search import Findings, Outcome, Strategy, Trial, search
from laconic.select.space import Number, OneOf, Space, Whole
from laconic.select.strategies import AtRandom, GaussianProcess, TreeParzen

SPACE: Space = {"width": Whole(8, 64, 8), "temperature": Number(0.5, 20, log=True), "first": OneOf(("cut", "code"))}


def cost(trial: Trial) -> float:
    """Least, at 0, with 40, 4 and `code`."""
    values = trial.values
    away = abs(values["width"] - 40) / 8 + abs(values["temperature"] - 4) / 4
    return float(away + (values["first"] == "cut"))


@pytest.mark.parametrize(
    ("strategy", "trials", "goal"),
    [(TreeParzen(), 60, 0.6), (GaussianProcess(), 25, 0.6), (Reinforcement(), 100, 0.9)],
)
def test_a_strategy_comes_near_the_least(strategy: Strategy, trials: int, goal: float) -> None:
    found = search(SPACE, cost, trials=trials, strategy=strategy)
    assert len(found.done) == trials
    assert found.best.goals[0] < goal
    assert found.best.values["first"] == "code"


@pytest.mark.parametrize("strategy", [TreeParzen(seed=3), AtRandom(seed=3), Reinforcement(seed=3, startup=5)])
def test_the_same_seed_tries_the_same(strategy: Strategy) -> None:
    first, again = (search(SPACE, cost, trials=12, strategy=strategy) for _ in range(2))
    assert first == again


def test_several_goals_give_a_front() -> None:
    space = {"x": Number(0, 1), "y": Number(0, 1)}

    def goals(trial: Trial) -> tuple[float, float]:
        x, y = trial.values["x"], trial.values["y"]
        return x + y, 1 - x + y

    found = search(space, goals, trials=40, goals=2)
    assert len(found.front) > 3
    for one in found.front:
        assert not any(other.goals[0] < one.goals[0] and other.goals[1] < one.goals[1] for other in found.done)


def test_reinforcement_has_one_goal() -> None:
    with pytest.raises(UsageError, match=r"expected one\. For several use TreeParzen"):
        search({"x": Number(0, 1)}, lambda trial: (0.0, 0.0), trials=1, goals=2, strategy=Reinforcement())


def test_a_search_goes_on_where_it_stopped(tmp_path: Path) -> None:
    storage = tmp_path / "new" / "trials.db"
    first = search(SPACE, cost, trials=5, storage=storage)
    asked = []

    def counted(trial: Trial) -> float:
        asked.append(trial.values)
        return cost(trial)

    both = search(SPACE, counted, trials=12, storage=storage)
    assert len(asked) == 7 and len(both.outcomes) == 12
    assert both.outcomes[:5] == first.outcomes
    assert not any(values == outcome.values for values in asked for outcome in first.outcomes)  # not the same again
    assert search(SPACE, counted, trials=12, storage=storage) == both and len(asked) == 7


def test_reinforcement_goes_on_from_what_the_storage_holds(tmp_path: Path) -> None:
    storage, strategy = tmp_path / "trials.db", Reinforcement(startup=8, noise=0.01)
    search(SPACE, cost, trials=8, storage=storage, strategy=AtRandom())
    found = search(SPACE, cost, trials=14, storage=storage, strategy=strategy)
    # No more than the noise is random: what is drawn comes from the actor, not from the startup.
    widths = [outcome.values["width"] for outcome in found.outcomes]
    assert len(set(widths[8:])) < len(set(widths[:8]))


def test_several_workers_share_one_file(tmp_path: Path) -> None:
    storage, done = tmp_path / "trials.db", []

    def work(seed: int) -> None:
        search(SPACE, cost, trials=12, storage=storage, strategy=AtRandom(seed=seed), seen=done.append)

    search(SPACE, cost, trials=1, storage=storage)
    workers = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    found = search(SPACE, cost, trials=12, storage=storage)
    assert 12 <= len(found.outcomes) <= 13  # both may have begun their last one together
    assert len(found.outcomes) == 1 + len(done)
    assert len({outcome.number for outcome in found.outcomes}) == len(found.outcomes)


def test_a_trial_of_a_killed_worker_counts_for_nobody(tmp_path: Path) -> None:
    def killed(trial: Trial) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(SPACE, killed, trials=3, storage=tmp_path / "trials.db")
    assert len(search(SPACE, cost, trials=3, storage=tmp_path / "trials.db").done) == 3


def test_a_bad_trial_is_stopped_early() -> None:
    steps = []

    def slow(trial: Trial) -> float:
        value = 0.0 if trial.values["n"] == 0 else 1.0 + len(steps)
        for step in range(10):
            trial.report(value, step)
        steps.append(trial.values["n"])
        return value

    found = search({"n": OneOf((0, 1))}, slow, trials=20, strategy=AtRandom(seed=1))
    stopped = [outcome for outcome in found.outcomes if outcome.state == "stopped"]
    assert stopped and all(outcome.values["n"] == 1 and outcome.goals == () for outcome in stopped)
    assert found.best.values["n"] == 0
    assert len(found.outcomes) == 20


def test_a_trial_that_cannot_be_carried_out_fails_alone_and_says_why() -> None:
    def narrow(trial: Trial) -> float:
        if trial.values["width"] < 40:
            raise UsageError("width: too narrow.")
        return cost(trial)

    found = search(SPACE, narrow, trials=20)
    failed = [outcome for outcome in found.outcomes if outcome.state == "failed"]
    assert failed and {outcome.why for outcome in failed} == {"width: too narrow."}
    assert found.best.values["width"] >= 40


def test_an_objective_that_is_no_number_fails() -> None:
    with pytest.raises(LaconicError, match=r"none of 3 trials ran to its end \(the objective is \(nan,\), not finite"):
        _ = search(SPACE, lambda trial: float("nan"), trials=3).best


def test_a_mistake_in_the_objective_ends_the_search() -> None:
    with pytest.raises(ZeroDivisionError):
        search(SPACE, lambda trial: 1 / 0, trials=3)


@pytest.mark.parametrize(
    "content", [b"no database at all, but long enough to be looked at" * 100, b"SQLite format 3\0" + b"x" * 5000]
)
def test_a_damaged_database_is_said_and_left_as_it_is(content: bytes, tmp_path: Path) -> None:
    storage = tmp_path / "trials.db"
    storage.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"trials\.db: cannot be used as a database of trials"):
        search(SPACE, cost, trials=3, storage=storage)
    assert storage.read_bytes() == content


def test_a_database_lost_on_the_way_is_said_and_what_was_seen_is_kept(tmp_path: Path) -> None:
    storage = tmp_path / "trials.db"
    seen: list[Outcome] = []

    def losing(trial: Trial) -> float:
        if len(seen) == 3:
            with sqlite3.connect(storage) as there:
                there.execute("DROP TABLE trials")
        return cost(trial)

    with pytest.raises(ArtifactError, match=r"cannot be used as a database of trials \(.*no such table: trials"):
        search(SPACE, losing, trials=9, storage=storage, seen=seen.append)
    assert len(seen) == 3 and Findings(outcomes=tuple(seen)).best.goals == min(outcome.goals for outcome in seen)


def test_a_database_that_is_not_there_is_said() -> None:
    with pytest.raises(ArtifactError, match="cannot be used as a database of trials"):
        search(SPACE, cost, trials=1, storage="nothing-of-the-kind://there")


def test_another_space_under_the_same_name_is_refused(tmp_path: Path) -> None:
    search(SPACE, cost, trials=1, storage=tmp_path / "trials.db")
    with pytest.raises(UsageError, match="expected a study of the same dimensions and goals"):
        search({**SPACE, "width": Whole(8, 32, 8)}, cost, trials=1, storage=tmp_path / "trials.db")
    other = search({"x": Number(0, 1)}, lambda t: t.values["x"], trials=1, storage=tmp_path / "trials.db", name="other")
    assert len(other.outcomes) == 1


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Number(1, 0), "Number.low, high"),
        (lambda: Number(0, 1, log=True), "Number.low"),
        (lambda: Whole(0, 5, 2), "Whole.low, high, step"),
        (lambda: OneOf(()), "OneOf.options"),
        (lambda: search({}, cost, trials=1), "search.space"),
        (lambda: search(SPACE, cost, trials=0), "search.trials, goals"),
        (lambda: TreeParzen(startup=0), "TreeParzen.startup"),
        (lambda: Reinforcement(decay=2), "Reinforcement.noise, decay"),
        (
            lambda: search(SPACE, cost, trials=1, strategy=Reinforcement(features={"width": (1,)})),
            "Reinforcement.features",
        ),
    ],
)
def test_what_is_outside_its_domain_is_refused(make: object, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        make()  # type: ignore[operator]


@pytest.mark.parametrize("dimension", [Number(1, 9), Number(1, 9, log=True), Whole(2, 10, 4), OneOf((5, 6, 7))])
def test_a_share_of_a_domain_leads_back_to_its_value(dimension: Number | Whole | OneOf) -> None:
    for place in (0.0, 0.2, 0.5, 0.9, 1.0):
        drawn = dimension.at(place)
        assert dimension.at(dimension.share(drawn)) == pytest.approx(drawn)
