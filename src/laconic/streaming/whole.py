"""A model larger than memory, compressed one block at a time."""

from __future__ import annotations

import copy
import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from laconic.calibrate import Encoder, LayerEvidence
from laconic.calibrate.gather import refused
from laconic.calibrate.parts import evidence_of
from laconic.calibrate.recorder import Recorder
from laconic.calibrate.untouched import untouched
from laconic.calibrate.weights import Weights
from laconic.core.errors import ArtifactError, LaconicError, ModelError, check_whole, invalid
from laconic.core.files import sha256
from laconic.core.plan import PLAN_FILE, Plan
from laconic.core.task import Batch, Task
from laconic.streaming.activations import Activations
from laconic.streaming.coding import Techniques, carry_out, coded, coded_block, preferred_of
from laconic.streaming.parts import around, as_stored, blocks_of, bytes_in_checkpoint, filled, path_of_blocks
from laconic.streaming.rehearsal import AllSeen, Call, Rehearsal, carried
from laconic.streaming.shards import Shards
from laconic.streaming.streamed import MANIFEST, OUTER, Streamed
from laconic.streaming.unseen import stream_unseen

ACTIVATIONS, BEFORE = "activations", "before"


def stream(
    model: nn.Module,
    checkpoint: str | Path,
    task: Task | None,
    technique: Encoder | Mapping[str, Encoder | None],
    out: str | Path,
    *,
    blocks: str | None = None,
    samples: int = 128,
    in_order: bool = False,
    tell: Callable[[str], None] | None = None,
) -> Streamed:
    """Compresses a model whose weights need not fit into memory, one block after the other.

    What lies before the blocks is coded first. Each block is then read from the checkpoint, coded for the inputs that
    the compressed blocks before it give it, written, and answers for the next one; what the model's code does around
    its blocks is found out from the code itself, with the blocks left out. Activations between blocks are kept on disk.
    Memory holds one block in float32 with the second moments of its layers' inputs, or what lies around the blocks.
    After an interruption the same call goes on at the block that was not finished.

    Args:
        model: on the meta device, buffers that are in no file in memory; left untouched.
        checkpoint: folder of safetensors files, with an index as Hugging Face writes it or without.
        task: its `calibrate` data is read, in the same order each time, without labels. None: nothing is run, every
            weight is coded for itself, and the blocks may be called in any way.
        technique: codes every weight; or patterns of parameters' names -> technique, None: as it is; the first match
            counts, and what none matches stays as it is.
        out: folder to write; holds a folder a part.
        blocks: path of the list of blocks; None: the longest list of modules of one class.
        samples: at most so many are read.
        in_order: fit each layer of a block to the inputs that the layers before leave it, as `solve.code_in_order`.
            That holds the activations inside a block of all samples at once, twice.
        tell: called with the path of each part that is finished.

    Raises:
        ModelError: the model has no blocks that are called one after the other, each with what the one before answers,
            or does not fit the checkpoint.
        ArtifactError: a file is missing or damaged, or `out` holds something else.
        UsageError: a pattern matches nothing.

    Reference:
        Frantar et al. 2022, arXiv:2210.17323, section 4 (block by block, on inputs already compressed).

    Example:
        >>> import tempfile
        >>> from laconic.core.files import write_tensors
        >>> from laconic.quantize import RoundToNearest
        >>> def build() -> nn.Module:
        ...     return nn.Sequential(nn.Linear(4, 8), nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)), nn.Linear(8, 2))
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_tensors(folder / "model.safetensors", build().state_dict())
        >>> model, task = build().to("meta"), Task(evaluate=[torch.randn(16, 4)], metric="mse")
        >>> found = stream(model, folder, task, RoundToNearest(bits=4), folder / "small", blocks="1")
        >>> [part.path for part in found.parts]
        ['1.0', '1.1', '']
    """
    check_whole("stream.samples", samples, 1)
    if in_order and task is None:
        raise invalid("stream.in_order", in_order, "False where there is no task", "Pass a Task with calibration data.")
    path, techniques = path_of_blocks(model, blocks), Techniques.of(technique)
    techniques.check(name for name, _ in model.named_parameters(remove_duplicate=False))
    shards = Shards.of(Path(checkpoint))
    settings = _digest(path, techniques, in_order, shards, task, samples)
    state = _begun(Path(out), path, settings)
    if not state.done and task is None:
        state = stream_unseen(model, shards, techniques, state, tell or (lambda part: None))
    elif not state.done and task is not None:
        work = _Work(model, shards, task, techniques, samples, in_order, tell or (lambda part: None), state)
        work.run()
        state = work.state
    for leftover in (ACTIVATIONS, BEFORE):
        shutil.rmtree(state.folder / leftover, ignore_errors=True)
    return state


@final
@dataclass
class _Work:
    """A run on its way."""

    model: nn.Module
    shards: Shards
    task: Task
    techniques: Techniques
    samples: int
    in_order: bool
    tell: Callable[[str], None]
    state: Streamed
    rehearsal: Rehearsal = field(default_factory=lambda: Rehearsal(0))

    def run(self) -> None:
        blocks = blocks_of(self.model, self.state.blocks)
        outer, _ = self._outer()
        pattern = self._pattern(outer, next(iter(blocks)), next(iter(blocks.values())))
        before = self._before(outer, pattern)
        calls = self._calls(outer, pattern, blank=not self.state.parts)
        del outer
        for place, (path, block) in enumerate(blocks.items()):
            if place >= len(self.state.parts):
                inputs, outputs = (self._activations(p, calls) for p in (place, place + 1))
                self._block(path, copy.deepcopy(block), inputs, outputs, f"block-{place:05d}")
                inputs.drop()
        self._around(before, pattern, self._activations(len(blocks), calls))

    def _outer(self) -> tuple[nn.Module, dict[str, torch.dtype]]:
        answers = partial(partial, self._answer)
        return filled(around(self.model, self.state.blocks, answers), "", self.shards)

    def _answer(self, place: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.rehearsal.answer(place, args, kwargs)

    def _pass(self, outer: nn.Module, batch: Batch, pattern: Any, last: list[Tensor] | None = None) -> Rehearsal:
        """Lets the model's own code run around its blocks."""
        count = len(list(self.model.get_submodule(self.state.blocks).children()))
        self.rehearsal = Rehearsal(count, pattern, last)
        try:
            self.task.call(outer, batch)
        except AllSeen:
            pass
        except LaconicError:
            raise
        except Exception as error:  # Whatever a model raises: the user needs to see which batch it was.
            raise refused("stream.task", self.model, batch, error) from error
        if len(self.rehearsal.calls) < (1 if pattern is None else count):
            raise ModelError(
                f"stream: {self.state.blocks} are not all called; expected each once. Name others: blocks=."
            )
        return self.rehearsal

    def _batches(self) -> Iterator[Batch]:
        return self.task.batches("calibrate", limit=self.samples)

    def _pattern(self, outer: nn.Module, path: str, block: nn.Module) -> Any:
        """Returns an answer of the first block, which shows how those of all are made up."""
        block, _ = filled(copy.deepcopy(block), f"{path}.", self.shards)
        with untouched(outer, gradients=False, seed=0), untouched(block, gradients=False, seed=0):
            seen = self._pass(outer, next(self._batches()).first(1), None)
            batch = seen.calls[0].batch(seen.first)
            return block(*batch.args, **batch.kwargs)

    def _before(self, outer: nn.Module, pattern: Any) -> Plan:
        """Returns what is done to weights before the blocks, and does it."""
        folder = self.state.folder / BEFORE
        if not (folder / PLAN_FILE).exists():
            seen = self._seen(outer, ((batch, None) for batch in self._batches()), pattern)
            coded(outer, "", seen, self.techniques, only=seen).save(folder)
        plan = Plan.load(folder)
        carry_out(outer, plan)
        return plan

    def _seen(
        self, outer: nn.Module, passes: Iterator[tuple[Batch, list[Tensor] | None]], pattern: Any
    ) -> Mapping[str, LayerEvidence]:
        """Returns what goes through the weights around the blocks, as far as the passes go."""
        recorder, samples = Recorder(Weights(outer)), 0
        with untouched(outer, gradients=False, seed=0):
            for batch, last in passes:
                with recorder:
                    self._pass(outer, batch, pattern, last)
                recorder.note_latest()
                samples += batch.size
        return preferred_of(evidence_of(recorder.sums, max(samples, 1)), samples)

    def _calls(self, outer: nn.Module, pattern: Any, *, blank: bool) -> list[list[Call]]:
        """Returns how each block is called, block by block a batch; keeps what the first one reads."""
        calls = []
        with untouched(outer, gradients=False, seed=0):
            for place, batch in enumerate(self._batches()):
                seen = self._pass(outer, batch, pattern)
                calls.append(seen.calls)
                if blank:
                    self._activations(0, calls).write(place, seen.first)
        return calls

    def _activations(self, place: int, calls: list[list[Call]]) -> Activations:
        folder = self.state.folder / ACTIVATIONS / f"{place:05d}"
        return Activations(folder, [of_batch[min(place, len(of_batch) - 1)] for of_batch in calls])

    def _block(self, path: str, block: nn.Module, inputs: Activations, outputs: Activations, folder: str) -> None:
        prefix = f"{path}."
        block, types = filled(block, prefix, self.shards)
        size = bytes_in_checkpoint(block, types)
        try:
            plan = coded_block(block, prefix, inputs, self.techniques, in_order=self.in_order)
        except LaconicError as error:
            raise type(error)(f"{path}: {error}") from error
        with untouched(block, gradients=False, seed=0):
            for place, batch in enumerate(inputs):
                outputs.write(place, carried(block(*batch.args, **batch.kwargs)))
        carry_out(block, plan)
        change = energy = 0.0
        with untouched(block, gradients=False, seed=0):
            for place, batch in enumerate(inputs):
                answer, wanted = carried(block(*batch.args, **batch.kwargs)), outputs.read(place)[0].double()
                change += float((answer[0].double() - wanted).square().sum())
                energy += float(wanted.square().sum())
                outputs.write(place, answer)
        self._finish(path, folder, as_stored(block, types), plan, size, change / energy if energy else 0.0)

    def _around(self, before: Plan, pattern: Any, finals: Activations) -> None:
        """Codes what comes after the blocks, for what these answer."""
        outer, types = self._outer()
        carry_out(outer, before)
        size = bytes_in_checkpoint(outer, types)
        last = (finals.read(place) for place in range(len(finals)))
        seen = self._seen(outer, zip(self._batches(), last, strict=True), pattern)
        plan = before + coded(outer, "", seen, self.techniques, leave={edit.parameter for edit in before.recodes})
        carry_out(outer, plan)
        self._finish("", OUTER, as_stored(outer, types), plan, size, None)

    def _finish(self, path: str, folder: str, part: nn.Module, plan: Plan, size: int, error: float | None) -> None:
        self.state = self.state.finished(path, folder, part, plan, original_bytes=size, error=error)
        self.tell(path)


def _begun(out: Path, blocks: str, settings: str) -> Streamed:
    """Returns what a folder holds of this run.

    Raises:
        ArtifactError: it holds another one, or something else.
    """
    if (out / MANIFEST).exists():
        found = Streamed.open(out)
        if found.settings != settings:
            raise ArtifactError(
                f"{out}: holds a run with other settings, data or weights; it cannot be gone on with. Choose another "
                "folder, or remove this one."
            )
        return found
    if out.exists() and any(out.iterdir()):
        raise ArtifactError(f"{out}: is not empty, and holds nothing of ours. Choose a new folder.")
    begun = Streamed(folder=out, blocks=blocks, settings=settings)
    begun.save()
    return begun


def _digest(
    blocks: str, techniques: Techniques, in_order: bool, shards: Shards, task: Task | None, samples: int
) -> str:
    """SHA-256 over all that decides what comes out."""
    files = {path: path.stat().st_size for path in dict.fromkeys(shards.files.values()) if path.exists()}
    content = hashlib.sha256()
    content.update(repr((blocks, techniques, in_order, [(p.name, size) for p, size in files.items()])).encode())
    for batch in () if task is None else task.batches("calibrate", limit=samples):
        for tensor in batch.inputs:
            content.update(repr((tensor.shape, tensor.dtype)).encode())
            content.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return sha256(content.digest())
