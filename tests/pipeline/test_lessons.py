"""How long an attempt learns."""

from pathlib import Path
from unittest.mock import patch

import pytest

from laconic import Recovery
from laconic.core.errors import UsageError
from laconic.pipeline.job import Job, job_of
from laconic.pipeline.lessons import Schooling, seconds_a_step, training_of

from .samples import network, task

A_STEP = "laconic.pipeline.lessons.seconds_a_step"


def job(**options) -> Job:
    recovery = Recovery.for_epochs(10, **options)
    given = {"samples": 64, "seed": 0, "command": "", "progress": None}
    return job_of(network(), task(), None, "onnxruntime", recovery=recovery, **given)


def test_without_a_limit_of_time_training_is_as_it_was_asked_for(tmp_path: Path):
    asked = job()
    assert training_of(asked, network(), tmp_path) is asked.recovery.training


def test_a_limit_of_time_makes_as_many_steps_as_fit_and_never_more_than_were_asked_for(tmp_path: Path):
    with patch(A_STEP, return_value=6.0):
        assert training_of(job(minutes=1.5), network(), tmp_path).steps == 15
        assert Schooling.of(job(minutes=1.5)) == Schooling(steps=15, seconds=90.0, once=4)
        assert Schooling.of(job(minutes=60)) == Schooling(steps=40, seconds=240.0, once=4)
        assert Schooling.of(job(minutes=1e-3)) == Schooling(steps=1, seconds=6.0, once=4)


def test_a_run_that_goes_on_keeps_its_length_whatever_the_machine_does(tmp_path: Path):
    for seconds in (6.0, 60.0):
        with patch(A_STEP, return_value=seconds):
            assert training_of(job(minutes=1.5), network(), tmp_path).steps == 15


def test_timing_a_step_changes_nothing():
    student = network().eval()
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    assert seconds_a_step(job(), student) > 0
    assert all(tensor.equal(before[name]) for name, tensor in student.state_dict().items())
    assert all(parameter.grad is None for parameter in student.parameters())


@pytest.mark.parametrize("minutes", [0, -1, float("inf"), float("nan")])
def test_minutes_that_are_no_time_are_refused(minutes):
    with pytest.raises(UsageError, match=r"Recovery.minutes: got .*; expected a positive number"):
        Recovery.for_epochs(1, minutes=minutes)
