"""Every model of the zoo, each in processes of its own: `make zoo`."""

import importlib.util
from dataclasses import asdict
from functools import partial

import pytest

from . import all_entries, libraries
from .apart import apart
from .checks import CHECKS, Row, judge, reload

LIMIT_S = 120
ENTRIES = {entry.name: entry for entry in all_entries()}


@pytest.fixture(scope="session")
def model_libraries() -> None:
    """Imported once, before the processes part."""
    for name in ("torchvision", "timm", "transformers"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"needs {name}, which `make zoo` installs")
    libraries.timm()
    libraries.transformers()


@pytest.mark.zoo
@pytest.mark.usefixtures("model_libraries")
@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", ENTRIES)
def test_any_model_is_pruned_with_nothing_said_about_it(name, tmp_path):
    said, error = apart(lambda: asdict(judge(ENTRIES[name], tmp_path)), LIMIT_S).result()
    assert not error
    row = Row(**said)
    _, error = apart(partial(reload, ENTRIES[name], tmp_path), LIMIT_S).result()
    assert not row.failures and not error
    assert set(row.passed) == {*CHECKS} - {"reload"}
