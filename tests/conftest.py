"""What all tests share: one thread, fixed seeds, repeatable properties, and the data folder beside the checkout."""

import os
import random
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
# A shell's background jobs, and what they start, ignore Ctrl-C; tests that press it mean the usual handler.
signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("laconic", deadline=None, derandomize=True, database=None, max_examples=50)
settings.load_profile("laconic")


@pytest.fixture(scope="session", autouse=True)
def own_caches(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is remembered between runs goes to a folder of this run, for processes that tests start as well."""
    os.environ["LACONIC_CACHE"] = str(tmp_path_factory.mktemp("caches"))


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public weights and data beside the checkout; `MANIFEST.md` in it says what is there."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the data folder ../shared/data beside the checkout")
    return folder
