from pathlib import Path

import pytest

from laconic.cli.main import _going_on


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"work": None, "resume": False}, "with --work FOLDER it can be gone on with."),
        ({}, "with --work FOLDER it can be gone on with."),
        ({"work": Path("w"), "resume": False}, "what is done is kept in w; the same command with --resume goes on."),
        ({"work": Path("w")}, "what is done is kept in w; the same command goes on."),
    ],
)
def test_a_command_that_is_stopped_says_how_it_goes_on(given, said):
    assert _going_on(given) == said
