"""A small network, a task that it can learn, and a compression that the tests of several folders look at."""

import atexit
import copy
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

import torch
from torch import Tensor, nn

from laconic.core.budget import Budget
from laconic.core.edit import Recode
from laconic.core.task import Task
from laconic.export.onnxruntime.in_file import InFile
from laconic.measure import Latency
from laconic.pipeline import Recovery, Result, compress
from laconic.quantize import RoundToNearest
from laconic.train import AdamW

SHARE = 0.6


def network(seed: int = 0) -> nn.Module:
    """Two linear layers with batch normalisation and dropout between them, in train mode; its running mean is not 0."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(16, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 4))
    model(data()[0])
    model[4].weight.data *= 10  # As sure of itself as a trained one.
    return model


def data(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(64, 16, generator=generator)
    return x, x[:, :4].argmax(1)


def batches(seed: int = 0) -> list[tuple[Tensor, ...]]:
    return list(zip(*(part.split(16) for part in data(seed)), strict=True))


def task(**parts: Any) -> Task:
    return Task(**{"train": batches(), "evaluate": batches(), **parts})


def steady(ms: Callable[[str], float]) -> Callable[..., dict[str, Latency]]:
    """Stands in for `latency`: calls everything once, and says what it is told to say."""

    def latency(runners: Mapping[str, Callable[[], object]], **_: Any) -> dict[str, Latency]:
        for call in runners.values():
            call()
        return {
            name: Latency(median_ms=ms(name), low_ms=ms(name), high_ms=ms(name), samples_ms=(ms(name),) * 9)
            for name in runners
        }

    return latency


@contextmanager
def at_once(*, candidate_ms: float = 1.0, memory: int | None = 10**8) -> Iterator[None]:
    """Replaces clocks and processes, which take seconds and differ from run to run; the original takes 2 ms."""
    times = {"candidate": candidate_ms, "original": 2.0}
    with ExitStack() as patches:
        patches.enter_context(patch("laconic.pipeline.figures.latency", steady(lambda name: times[name])))
        if memory is not None:
            patches.enter_context(patch("laconic.pipeline.figures.peak_memory", return_value=memory))
        yield


def codes_alone(recodes: Iterable[Recode]) -> InFile:
    """Stands in for `in_file.together`: nothing but codes and what belongs to them."""
    return InFile(own=sum(edit.coding.size_bytes for edit in recodes), shared={})


@contextmanager
def weights_alone() -> Iterator[None]:
    """Files without operators and names, which are most of so small a network's."""
    with ExitStack() as patches:
        packed = patches.enter_context(patch("laconic.pipeline.bases.in_file"))
        packed.side_effect = lambda parameter, coding: codes_alone([Recode(parameter, coding)])
        patches.enter_context(patch("laconic.pipeline.planning.together", codes_alone))
        patches.enter_context(patch("laconic.pipeline.planning.around_of", return_value=300))
        patches.enter_context(patch("laconic.pipeline.explore.around_of", return_value=300))
        yield


@dataclass(frozen=True, kw_only=True, eq=False)
class Finished:
    """A compression that is over: the model that went in, its state before, its hook, the stages, the result."""

    model: nn.Module
    before: Mapping[str, Tensor]
    hook: Mock
    work: Path
    result: Result


@cache
def finished() -> Finished:
    """Eight-bit activations, weights as small as asked, recovered, peak memory for real; tests only look at it."""
    model, hook = network(), Mock(return_value=None)
    model[0].bias.requires_grad_(False)
    model[2].register_forward_hook(hook)
    model[4].eval()
    before = copy.deepcopy(model.state_dict())
    work = Path(tempfile.mkdtemp(prefix="laconic-test-"))
    atexit.register(shutil.rmtree, work, ignore_errors=True)
    training = replace(Recovery.for_epochs(60).training, optimizer=AdamW(learning_rate=5e-3))
    coarse = (RoundToNearest(bits=4),)
    with (
        at_once(memory=None),
        patch("laconic.pipeline.bases.FOR_ONNX", coarse),
        patch("laconic.pipeline.planning.GRIDS", coarse),
        patch("laconic.pipeline.explore.KEEPS", (1.0,)),
        weights_alone(),  # So that the first attempt is too large.
    ):
        result = compress(
            model,
            task(),
            Budget(size=SHARE, memory="1 GB", drop=0.5),
            "onnxruntime:batch_size=2",
            recovery=Recovery(training=training),
            work=work,
            command="laconic compress it",
        )
    return Finished(model=model, before=before, hook=hook, work=work, result=result)
