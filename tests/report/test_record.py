import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from laconic.core.errors import ArtifactError
from laconic.report import Report

from . import samples


@pytest.mark.parametrize("report", samples.ALL.values(), ids=samples.ALL)
def test_a_report_comes_back_from_json_as_it_was(report: Callable[[], Report]) -> None:
    written = json.dumps(report().to_json(), allow_nan=False)
    assert Report.from_json(json.loads(written)) == report()


@pytest.mark.parametrize(
    "path",
    [("titel",), ("budget", "sizes"), ("original", "bytes"), ("attempts", 0, "reason"), ("layers", 0, "bits")],
    ids=str,
)
def test_an_unknown_key_anywhere_is_an_error_that_names_it(path: tuple[Any, ...]) -> None:
    content = copy.deepcopy(samples.digits().to_json())
    place = content
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = 1
    with pytest.raises(ArtifactError, match=f"Report.{'.'.join(map(str, path))}: "):
        Report.from_json(content)


def test_a_missing_key_and_a_figure_that_is_no_number_are_errors() -> None:
    content = samples.digits().to_json()
    del content["command"]
    with pytest.raises(ArtifactError, match=r"Report\.command"):
        Report.from_json(content)
    content = samples.digits().to_json()
    content["seconds"] = [["train", "nan"]]
    with pytest.raises(ArtifactError, match=r"Report\.seconds\.0\.1"):
        Report.from_json(content)


def test_the_budget_is_met_exactly_when_nothing_was_missed() -> None:
    assert samples.digits().met
    assert not samples.missed().met
