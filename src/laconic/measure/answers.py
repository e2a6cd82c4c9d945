"""A model's answers to a part of the data, batch by batch."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest

import torch
from torch import Tensor

from laconic.core.errors import DataError, LaconicError, ModelError
from laconic.core.metric import IGNORED_LABEL, class_last
from laconic.core.task import Batch, Task
from laconic.measure.runner import Runner, to_array, to_tensor


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One batch and the logits a model gave for it, `[samples, ...]`, both on the CPU."""

    batch: Batch
    logits: Tensor

    @property
    def labels(self) -> Tensor | None:
        """The truth, if the data has it."""
        return self.batch.labels

    def predictions(self) -> Tensor:
        """Returns the logits with classes last, `[..., classes]`: the labels tell which dimension that is."""
        if self.labels is None or self.labels.dim() != self.logits.dim() - 1:
            return self.logits
        return class_last(self.logits, self.labels)

    def counted(self) -> Tensor:
        """Returns a boolean for each prediction: False where the label is -100, that is padding."""
        shape = self.predictions().shape[:-1]
        if self.labels is None or self.labels.shape != shape:
            return torch.ones(shape, dtype=torch.bool)
        return self.labels != IGNORED_LABEL


def answers(runner: Runner, task: Task, *, part: str = "evaluate", limit: int | None = None) -> Iterator[Answer]:
    """Runs a model over a part of the data, one batch at a time; keep them in a list to use them twice.

    Args:
        runner: the model in its runtime.
        task: the data.
        part: `"evaluate"`, `"train"` or `"calibrate"`.
        limit: at most so many samples.

    Raises:
        DataError: the part is empty, a batch holds NaN, or the model refuses one; the message has part, shapes and the
            model's words.
        ModelError: the model answers with NaN or infinity.
    """
    for batch in task.batches(part, limit=limit):
        yield Answer(batch=batch, logits=_logits(runner, batch, part))


class Kept:
    """A model's answers for several readers: from memory where they fit there, else computed anew for each.

    Args:
        make: begins to answer.
        most_bytes: of batches and logits that are held.
    """

    def __init__(self, make: Callable[[], Iterable[Answer]], *, most_bytes: int = 2**28) -> None:
        self._make, self._most = make, most_bytes
        self._held: list[Answer] | None = None

    def __iter__(self) -> Iterator[Answer]:
        if self._held is not None:
            yield from self._held
            return
        held: list[Answer] = []
        room = self._most
        for answer in self._make():
            room -= sum(t.nbytes for t in (answer.logits, *answer.batch.inputs))
            if room >= 0:
                held.append(answer)
            else:
                held.clear()
            yield answer
        self._held = held if room >= 0 else None


def _logits(runner: Runner, batch: Batch, part: str) -> Tensor:
    try:
        logits = to_tensor(runner.run([to_array(x) for x in batch.inputs]))
    except LaconicError:
        raise
    except Exception as error:  # Runtimes share no class of errors; whichever it is, the user needs to see the batch.
        raise DataError(
            f"Task.{part}: {runner.name} refuses a batch with inputs of {_shapes(batch)}: {_one_line(error)}. "
            "Check the shapes and types that the loader yields against what the model expects."
        ) from error
    if bool(logits.isnan().any()) or bool((logits == torch.inf).any()):
        if not all(bool(x.isfinite().all()) for x in batch.inputs):
            raise DataError(f"Task.{part}: a batch holds NaN or infinity; expected finite inputs. Check the data set.")
        raise ModelError(
            f"{runner.name}: the answer to a batch of Task.{part} holds NaN or infinity; expected finite logits. "
            "Check the weights and the number format (float16 overflows above 65504)."
        )
    return logits


def _shapes(batch: Batch) -> str:
    return " and ".join(f"shape {list(x.shape)} ({str(x.dtype).removeprefix('torch.')})" for x in batch.inputs)


def _one_line(error: Exception) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    return textwrap.shorten(words, 300, placeholder=" [...]").rstrip(".")


def pairs(reference: Iterable[Answer], candidate: Iterable[Answer]) -> Iterator[tuple[Answer, Answer]]:
    """Yields two models' answers to the same batches, side by side.

    Raises:
        DataError: the two did not see the same inputs in the same order, or answer in different shapes.
    """
    for original, changed in zip_longest(reference, candidate):
        if original is None or changed is None or not _same_inputs(original.batch, changed.batch):
            raise DataError(
                "Task.evaluate: two passes gave different batches; expected the same samples in the same order. "
                "Turn off shuffling and random augmentation in the evaluation loader."
            )
        if original.logits.shape != changed.logits.shape:
            raise DataError(
                f"compare: got outputs of shape {list(changed.logits.shape)}; expected the reference's "
                f"{list(original.logits.shape)}. Compare models that answer the same question."
            )
        yield original, changed


def _same_inputs(one: Batch, other: Batch) -> bool:
    return len(one.inputs) == len(other.inputs) and all(map(torch.equal, one.inputs, other.inputs))
