"""The report of a compression: what was found, put into words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor, nn

import laconic.report as report
from laconic.core.edit import Recode, RoundActivation
from laconic.core.plan import Plan
from laconic.pipeline.attempt import Attempt, Course, steps_of
from laconic.pipeline.job import Job
from laconic.pipeline.kernels import Kernels
from laconic.pipeline.risks import of_sizes
from laconic.pipeline.routes import MARGIN, Route, Wanted
from laconic.report import LayerRow, Report, StepRow, Way
from laconic.report.wording import byte_size, is_share, short_count

NAMED = 5


def tell(
    job: Job,
    course: Course,
    network: nn.Module,
    plan: Plan,
    *,
    kernels: Kernels,
    facts: Sequence[tuple[str, str]],
    seconds: Mapping[str, float],
) -> Report:
    """Returns the report of the winning attempt, with the others beside it."""
    name, winner = type(job.model).__name__, course.winner
    return Report(
        title=f"{name}, compressed",
        model=name,
        task=f"{job.task.score.name} on {_predictions(winner)} predictions of the evaluation data",
        target=job.target,
        budget=job.budget,
        misses=tuple(miss.said(share=is_share(job.task.score.name)) for miss in winner.outcome.misses),
        original=winner.original,
        compressed=winner.figures,
        steps=tuple(
            StepRow(done=step.words, nats=step.nats, size_bytes=step.size_bytes, macs=step.macs)
            for step in steps_of(winner.folder)
        ),
        ways=(*(_way(route, course) for route in course.routes), *not_considered(course.left_out)),
        attempts=tuple(_attempt(one, one is winner) for one in course.attempts),
        layers=tuple(_layers(job, network, plan, kernels)),
        plan_words=tuple(map(str, plan)),
        methods=tuple(_methods(job, kernels)),
        command=job.command,
        facts=tuple(facts),
        warnings=tuple(_warnings(job, winner, kernels)),
        seconds=tuple(seconds.items()),
    )


def _predictions(winner: Attempt) -> str:
    return f"{winner.figures.score.predictions:,}" if winner.figures.score else "no"


def _attempt(one: Attempt, accepted: bool) -> report.Attempt:
    outcome = one.outcome
    why = str(outcome)
    if accepted and not outcome.accepted:
        why = f"the nearest to the budget: {why}"
    if one.recovered:
        why += "; recovered by learning from the original"
    return report.Attempt(
        name=outcome.proposal.name, plan=str(outcome.proposal), figures=one.figures, accepted=accepted, why=why
    )


def _way(route: Route, course: Course) -> Way:
    tried = {one.outcome.proposal: one for one in course.attempts}
    if route.why:
        verdict = route.why
    elif route.proposal == course.winner.outcome.proposal:
        verdict = "returned"
    elif route.proposal in tried:
        verdict = f"tried, and taken back: {tried[route.proposal].outcome}"
    elif course.wanted is not None and not course.wanted.allows(route):
        verdict = f"not tried: {excess(route, course.wanted)}"
    else:
        verdict = "not tried: another promised more, or was enough"
    if (trial := course.trials.get(route.proposal)) is not None:
        verdict = f"{verdict}; {trial}"
    return Way(plan=str(route.proposal), size_bytes=route.size_bytes, macs=route.macs, nats=route.nats, verdict=verdict)


def excess(route: Route, wanted: Wanted) -> str:
    """Says which limit a way is beyond, and by how much."""
    macs, size = wanted.macs * wanted.original_macs, wanted.size * wanted.original_bytes
    if route.macs > (1 + MARGIN) * macs:
        return f"too many multiply-adds: {short_count(route.macs)}, and {short_count(round(macs))} are allowed"
    if route.size_bytes > (1 + MARGIN) * size:
        return f"too large: about {byte_size(route.size_bytes)}, and {byte_size(round(size))} are allowed"
    return f"too much memory: about {byte_size(route.memory or 0.0)}, and {byte_size(wanted.memory or 0.0)} are allowed"


def not_considered(left_out: Mapping[str, str]) -> Iterator[Way]:
    """Yields what is no way at all, with the reason."""
    for what, why in left_out.items():
        yield Way(plan=what, size_bytes=None, macs=None, nats=None, verdict=why)


def _layers(job: Job, network: nn.Module, plan: Plan, kernels: Kernels) -> Iterator[LayerRow]:
    recoded = {edit.parameter: edit for edit in plan.recodes}
    rounded = {edit.module for edit in plan if isinstance(edit, RoundActivation) and edit.side == "input"}
    named = {id(tensor): name for name, tensor in job.model.named_parameters()}
    after = {name: tensor for name, tensor in network.named_parameters(remove_duplicate=False) if tensor.numel()}
    for path, module in job.model.named_modules():
        held = {f"{path}.{name}".lstrip("."): t for name, t in module.named_parameters(recurse=False)}
        tensors = {name: tensor for name, tensor in held.items() if named[id(tensor)] == name}  # Tied ones once.
        if not tensors:
            continue
        coded = {name: recoded[name] for name in tensors if name in recoded}
        floats = [name for name in tensors if name in after and (name not in coded or name in kernels.left_whole)]
        packed = [edit.coding.size_bytes for name, edit in coded.items() if name not in kernels.left_whole]
        removed = not coded and not floats
        yield LayerRow(
            name=path or "(the model itself)",
            kind=type(module).__name__,
            parameters=sum(t.numel() for t in tensors.values()),
            bytes_before=sum(t.nbytes for t in tensors.values()),
            bytes_after=sum(packed) + sum(after[name].nbytes for name in floats),
            done="removed" if removed else _done(list(coded.values()), path in rounded),
            kernel=next((kernels.kernels[name] for name in tensors if name in kernels.kernels), None),
            why="the network does without it" if removed else _why(tensors, recoded, kernels),
        )


def _why(tensors: Mapping[str, Tensor], recoded: Mapping[str, Recode], kernels: Kernels) -> str:
    """Why a layer was left alone, or does not run the way it was meant to."""
    reasons = [f"stored as float: {kernels.left_whole[name]}" for name in tensors if name in kernels.left_whole]
    reasons += [f"runs in float: {kernels.left_float[name]}" for name in tensors if name in kernels.left_float]
    if recoded.keys().isdisjoint(tensors):
        small = all(tensor.dim() < 2 for tensor in tensors.values())
        reasons.append(
            "small, and accuracy hangs on it: kept in float"
            if small
            else "neither a linear map nor a convolution nor an embedding: kept in float"
        )
    return "; ".join(reasons)


def _done(edits: Sequence[Recode], rounded: bool) -> str:
    if not edits:
        return "unchanged"
    return "; ".join(str(edit.coding) for edit in edits) + (", 8-bit inputs" if rounded else "")


def _methods(job: Job, kernels: Kernels) -> Iterator[tuple[str, str]]:
    runtime, regression = job.target.runtime, job.task.score.regression
    yield "File size", "bytes of the exported ONNX file, which holds everything that is needed to run the model"
    yield "Parameters", "counted in the PyTorch model, tied ones once"
    yield from _sizes(job, kernels)
    yield "MACs", "multiply-accumulates of one sample, counted on the graph that torch.export captures"
    yield (
        "Latency",
        f"one call of {runtime} with batch {job.target.batch_size}, original and compressed in turn in random order "
        "after a warm-up; median and quartiles over rounds, ratio as the median of the rounds' ratios",
    )
    yield "Peak memory", f"peak resident set of a fresh process that loads the model into {runtime} and runs it"
    yield job.task.score.name, f"the exported model in {runtime}, over all evaluation data, with a 95 % interval"
    yield (
        ("Distance to the original", "outputs of the exported compressed model against the original's in PyTorch")
        if regression
        else (
            "KL to the original",
            "mean over predictions of KL(original in PyTorch || exported compressed model), in nats",
        )
    )
    yield (
        "Artifact against PyTorch",
        "outputs of the exported model against those of the PyTorch model that it was made from",
    )


def _sizes(job: Job, kernels: Kernels) -> Iterator[tuple[str, str]]:
    """Says which sizes the exported model takes, and at which of them it was measured."""
    measured: dict[str, int] = {}
    for dims, tensor in ((kernels.dynamic.get(name, {}), x) for name, x in job.inputs()):
        measured |= {name: tensor.shape[dim] for dim, name in dims.items()}
    if measured:
        words = [f"{name} {size}{_limit(name, kernels)}" for name, size in measured.items()]
        yield (
            "Sizes of the inputs",
            f"the exported model takes any; latency, memory and MACs are those of the first evaluation batch: "
            f"{', '.join(words)}",
        )


def _limit(name: str, kernels: Kernels) -> str:
    return f" (at most {kernels.largest[name]})" if name in kernels.largest else ""


def _warnings(job: Job, winner: Attempt, kernels: Kernels) -> Iterator[str]:
    yield from of_sizes({**job.fixed, **kernels.fixed})
    if not job.recovers:
        missing = "there was no training data" if job.task.train is None else "no recovery was asked for"
        yield f"The model was not recovered by learning from the original: {missing}."
    elif not winner.recovered:
        yield "Learning from the original did not bring the model nearer to it on calibration data, and was taken back."
    for left, words in (
        (kernels.left_float, "run in float although they were meant to run on integers"),
        (kernels.left_whole, "are stored as float numbers although they were recoded"),
    ):
        if left:
            more = ", ..." if len(left) > NAMED else ""
            yield f"{len(left)} weights {words}: {', '.join(list(left)[:NAMED])}{more}. The table of layers says why."
