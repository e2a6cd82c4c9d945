"""The time of one distillation step against the same step written by hand; with a warm cache against plain training.

A convolutional teacher and a student of half its width on made-up images of 3 x 32 x 32 pixels, batches of 64, AdamW,
one thread. Four ways take the same steps in turn: `hand` is the teacher's forward pass without gradients, the
student's forward and backward pass and the optimizer's step in as few lines as PyTorch allows; `laconic` is the
training loop with soft labels; `student` is the student alone on labels, by hand; `cached` is the loop with the
teacher's answers on disk. Time is that of the processor, a step of each way after the other, and a way's time is the
mean of the quickest quarter of its steps: other work on the machine makes steps longer, never shorter. Gradients are
not clipped, and glibc keeps memory that is freed, so that no way pays for pages which another one has given back.
TextBrewer joins in where it can be imported. Memory is the most that two first steps hold beyond batches and teacher,
by PyTorch's own profiler.
"""

from __future__ import annotations

import os
import queue
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax
from torch.profiler import ProfilerActivity, profile

import laconic
import manner
from laconic.distill import SoftLabels
from laconic.train import AdamW, Constant, Training, cached_teacher, distillation, train

BATCH, BATCHES, ROUNDS, WARM, TEMPERATURE = 64, 8, 160, 8, 4.0
WAYS = ["hand", "laconic", "student", "cached"]


def network(width: int) -> nn.Module:
    """Returns an untrained network of six convolutions."""
    torch.manual_seed(width)
    layers: list[nn.Module] = []
    inputs = 3
    for outputs, stride in ((1, 1), (1, 1), (2, 2), (2, 1), (4, 2), (4, 1)):
        convolution = nn.Conv2d(inputs, outputs * width, 3, stride=stride, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(outputs * width), nn.ReLU()]
        inputs = outputs * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10))


def data() -> list[tuple[Tensor, Tensor]]:
    """Returns made-up batches."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(BATCHES, BATCH, 3, 32, 32, generator=generator)
    return [(x, torch.randint(10, (BATCH,), generator=generator)) for x in images]


class Way:
    """Takes steps in a thread of its own, which takes turns with the others: all have the same allocator and caches.

    Args:
        work: takes steps, and calls what it is given after each.
    """

    def __init__(self, work: Callable[[Callable[[], None]], None]) -> None:
        self._work = work
        self._go: queue.Queue[None] = queue.Queue()
        self._done: queue.Queue[None] = queue.Queue()
        threading.Thread(target=self._run, daemon=True).start()

    def __call__(self) -> float:
        """Takes a step and returns its seconds of processor time."""
        begun = time.process_time()
        self._go.put(None)
        self._done.get()
        return time.process_time() - begun

    def _run(self) -> None:
        torch.set_num_threads(1)  # A thread has a number of its own.
        self._go.get()
        self._work(self._tick)

    def _tick(self) -> None:
        self._done.put(None)
        self._go.get()


def by_hand(batches: list[tuple[Tensor, Tensor]], teacher: nn.Module | None, tick: Callable[[], None]) -> None:
    """Takes as many steps as there may be."""
    student = network(16).train()
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3)
    for x, y in batches:
        if teacher is None:
            loss = nn.functional.cross_entropy(student(x), y)
        else:
            with torch.no_grad():
                wanted = teacher(x)
            logits = student(x)
            ours, theirs = (log_softmax(z / TEMPERATURE, dim=-1) for z in (logits, wanted))
            loss = kl_div(ours, theirs, reduction="batchmean", log_target=True) * TEMPERATURE**2
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        tick()


def by_loop(task: laconic.Task, teacher: nn.Module, steps: int, tick: Callable[[], None]) -> None:
    """The same with the training loop."""
    training = Training(steps=steps, optimizer=AdamW(learning_rate=1e-3), schedule=Constant(), clip_norm=None)
    objective = distillation(teacher, task, SoftLabels(temperature=TEMPERATURE))
    train(network(16), task, training, objective=objective, progress=lambda step, total, loss: tick())


def by_textbrewer(batches: list[tuple[Tensor, Tensor]], teacher: nn.Module, tick: Callable[[], None]) -> None:
    """The same with TextBrewer."""
    from textbrewer import DistillationConfig, GeneralDistiller, TrainingConfig

    def adaptor(_batch: Any, outputs: Any) -> dict[str, Any]:
        return {"logits": outputs}

    given = TrainingConfig(device="cpu", log_dir=None, output_dir=tempfile.mkdtemp(), ckpt_steps=10**9)
    wanted = DistillationConfig(temperature=TEMPERATURE, hard_label_weight=0, kd_loss_type="ce")
    student = network(16).train()
    distiller = GeneralDistiller(given, wanted, teacher, student, adaptor, adaptor)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3)
    with distiller:
        distiller.train(
            optimizer,
            dataloader=[(x,) for x, _ in batches],
            num_epochs=1,
            batch_postprocessor=lambda batch: [tick(), batch][1],
        )


def peak_mb(run: Callable[[], object]) -> float:
    """Returns the most memory that is held beyond what was there before, in millions of bytes."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        run()
    held = most = 0
    for event in found.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return round(most / 1e6, 1)


def keep_memory() -> None:
    """Starts this script anew with an allocator that keeps what is freed."""
    wanted = {"MALLOC_MMAP_THRESHOLD_": str(2 * 10**9), "MALLOC_TRIM_THRESHOLD_": str(8 * 10**9)}
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **wanted})


def main() -> None:
    """Measures the ways in turn."""
    keep_memory()
    torch.set_num_threads(1)
    manner.options(__doc__ or "", WAYS, seeds=1)
    batches = data()
    task = laconic.Task(train=batches, evaluate=batches)
    teacher = network(32).eval()
    answers = cached_teacher(teacher, task, Path(tempfile.mkdtemp()) / "answers")
    steps = WARM + ROUNDS + 1  # One more than is taken: no run ends while it is measured.
    many = [batches[i % BATCHES] for i in range(steps)]
    ways = {
        "hand": Way(partial(by_hand, many, teacher)),
        "laconic": Way(partial(by_loop, task, teacher, steps)),
        "student": Way(partial(by_hand, many, None)),
        "cached": Way(partial(by_loop, task, answers, steps)),
    }
    if find_spec("textbrewer"):
        ways["textbrewer"] = Way(partial(by_textbrewer, many, teacher))
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(WARM + ROUNDS):
        order = list(ways) if turn % 2 else list(reversed(ways))
        for name in order:
            found = ways[name]()
            if turn >= WARM:
                seconds[name].append(found)
    quick = {name: statistics.mean(sorted(values)[: ROUNDS // 4]) for name, values in seconds.items()}
    for name, value in quick.items():
        manner.line(name, f"{1e3 * value:.2f} ms", f"{BATCH / value:.0f} / s")
    by_hand(batches[:2], teacher, lambda: None)  # What is allocated once only is not counted.

    manner.finish(
        {
            "over_floor": round(quick["laconic"] / quick["hand"], 3),
            "cached_over_student": round(quick["cached"] / quick["student"], 3),
            "textbrewer_over_floor": round(quick["textbrewer"] / quick["hand"], 3) if "textbrewer" in quick else None,
            "milliseconds": {name: round(1e3 * value, 2) for name, value in quick.items()},
            "peak_mb_of_two_steps": {
                "hand": peak_mb(lambda: by_hand(batches[:2], teacher, lambda: None)),
                "laconic": peak_mb(lambda: by_loop(task, teacher, 2, lambda: None)),
            },
            "rounds": ROUNDS,
            "command": manner.command(),
            "machine": manner.machine(),
        }
    )


if __name__ == "__main__":
    main()
