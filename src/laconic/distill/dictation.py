"""Sequences that a teacher writes, as data for its student."""

from __future__ import annotations

from torch import nn

from laconic.core.task import Batch, Task
from laconic.distill.answering import answering
from laconic.distill.decoding import Decoding
from laconic.distill.growing import continued, opening


def dictation(
    teacher: nn.Module, task: Task, decoding: Decoding, *, part: str = "train", samples: int | None = None
) -> list[Batch]:
    """Returns batches in which a teacher's words follow the prompts: sequence-level distillation, or data from none.

    What a batch has before its first label (`labels[i] = tokens[i + 1]`, -100 over the prompt) is the prompt; without
    labels it is all of it. To let the teacher write freely, give the token that begins a text as the only one. The
    result is `task.train` of another task: `replace(task, train=dictation(teacher, task, Beams(length=32, beams=5)))`.
    `laconic.train.on_policy` writes anew at every step instead.

    Args:
        teacher: called in eval mode and left as it is.
        task: prompts, and how the teacher is called.
        decoding: how it goes on: `Beams`, `Sampled`, `Generated`.
        part: of the task, `"train"`, `"evaluate"` or `"calibrate"`.
        samples: at most so many; None: all.

    Raises:
        DataError: batches that hold no tokens.

    Reference:
        Kim, Rush, 2016, arXiv:1606.07947, section 3.2 (with beam search).
    """
    with answering(teacher) as device:
        prompts = (opening(batch) for batch in task.batches(part, device=device, limit=samples))
        found = [continued(prompt, decoding(teacher, prompt, task), decoding.end) for prompt in prompts]
        return [batch.to("cpu") for batch in found]
