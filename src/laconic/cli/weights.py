"""`laconic quantize | sparsify | factorize | price`: what is done to weights without training, and its prices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from laconic.cli.listen import Terminal
from laconic.cli.load import load_model, load_task
from laconic.cli.options import BatchSize, DataName, Json, MetricName, ModelName, Weights, print_json
from laconic.core.budget import Budget
from laconic.core.errors import invalid
from laconic.core.folders import check_replaceable, replacing
from laconic.core.plan import PLAN_FILE, TENSOR_FILE, Plan
from laconic.core.state import WEIGHTS, save_state
from laconic.core.task import Task

if TYPE_CHECKING:
    from torch import nn

    from laconic.factorize import Factorization

FILES = {PLAN_FILE, TENSOR_FILE, WEIGHTS}
Correct = Annotated[
    bool, typer.Option("--correct", help="Let biases and batch statistics take back what shifts; --in-order does too.")
]
Place = Annotated[Path, typer.Option("--out", help="Folder for plan and weights; a result there is replaced.")]


def quantize(
    model: ModelName,
    data: DataName,
    weights: Weights = None,
    bits: Annotated[
        str, typer.Option(help="Of each weight, 2 to 8; or by name, the first match counts: 'head.*=8,*=4'.")
    ] = "8",
    activation_bits: Annotated[int | None, typer.Option(help="Of what layers read, 2 to 8; none: it stays.")] = None,
    activation_per: Annotated[
        str, typer.Option(help="What shares a range there: tensor (for integer kernels), channel or token.")
    ] = "tensor",
    first_bits: Annotated[int | None, typer.Option(help="Of what the first layer reads; none: as the others.")] = None,
    per: Annotated[str, typer.Option(help="What shares a scale: tensor, channel, or a number of weights.")] = "channel",
    in_order: Annotated[
        bool, typer.Option("--in-order", help="Fit each layer to what the ones before it leave: nearer at few bits.")
    ] = False,
    correct: Correct = False,
    reconstruct: Annotated[
        bool, typer.Option("--reconstruct", help="Then learn the rounding block by block: some minutes, for 2 bits.")
    ] = False,
    metric: MetricName = None,
    batch_size: BatchSize = 64,
    out: Place = Path("laconic-quantized"),
    as_json: Json = False,
) -> None:
    """Put weights, and activations if wished, on integer grids of fewer bits, without training.

    Example: `laconic quantize my_nets:build --weights net.safetensors --data arrays/ --bits 4 --in-order`
    """
    from laconic.quantize import RoundActivations
    from laconic.quantize import quantize as run

    check_replaceable(out, FILES)
    activations = None
    if activation_bits is None and (activation_per != "tensor" or first_bits is not None):
        raise invalid(
            "quantize.activation_bits", None, "a whole number from 2 to 8, beside what is said of activations"
        )
    if activation_bits is not None:
        activations = RoundActivations(
            bits=activation_bits,
            per=activation_per,  # type: ignore[arg-type]  # Another word is refused there.
            first_bits=first_bits,
        )
    network, task = load_model(model, weights), load_task(data, metric=metric, batch_size=batch_size)
    with _listening("quantize"):
        plan = run(
            network,
            task,
            bits=_bits(bits),
            activations=activations,
            per=int(per) if per.isdecimal() else per,  # type: ignore[arg-type]  # Another word is refused there.
            in_order=in_order,
            reconstruct=reconstruct,
        )
        plan = _corrected(network, plan, task) if correct else plan
    _deliver(network, plan, task, out, as_json)


def sparsify(
    model: ModelName,
    data: DataName,
    weights: Weights = None,
    sparsity: Annotated[float | None, typer.Option(help="Share of zeros, in [0, 1); 0.5, or what N:M means.")] = None,
    pattern: Annotated[
        str, typer.Option(help="unstructured, 2:4 or another N:M, 4x1 or other blocks, rows, columns.")
    ] = "unstructured",
    method: Annotated[
        str, typer.Option(help="magnitude, wanda, obd, compensated or alternating (docs/sparsity.md).")
    ] = "alternating",
    distribution: Annotated[
        str | None, typer.Option(help="Over the layers: uniform, global, price or erk; none: what suits the method.")
    ] = None,
    bits: Annotated[int | None, typer.Option(help="Of the weights that are left, 2 to 8; none: float16.")] = None,
    in_order: Annotated[
        bool, typer.Option("--in-order", help="Fit each layer to what the ones before it leave: nearer at many zeros.")
    ] = False,
    correct: Correct = False,
    metric: MetricName = None,
    batch_size: BatchSize = 64,
    out: Place = Path("laconic-sparse"),
    as_json: Json = False,
) -> None:
    """Set weights to zero and fit the others, without training. Files shrink; few runtimes get faster.

    Example: `laconic sparsify my_nets:build --weights net.safetensors --data arrays/ --sparsity 0.7 --bits 4`
    """
    from laconic.prune.weights import sparsify as run
    from laconic.quantize import CompensatedRounding

    then = None if bits is None else CompensatedRounding(bits=bits, keep_zeros=True)
    check_replaceable(out, FILES)
    network, task = load_model(model, weights), load_task(data, metric=metric, batch_size=batch_size)
    with _listening("sparsify"):
        plan = run(
            network,
            task,
            sparsity=sparsity,
            pattern=pattern,
            method=method,  # type: ignore[arg-type]  # A wrong word is refused there, with the right ones.
            distribution=distribution,  # type: ignore[arg-type]
            half=bits is None,
            then=then,
            in_order=in_order,
        )
        plan = _corrected(network, plan, task) if correct else plan
    _deliver(network, plan, task, out, as_json)


def factorize(
    model: ModelName,
    data: DataName,
    weights: Weights = None,
    ratio: Annotated[float | None, typer.Option(help="Fraction of the model to save, in (0, 1).")] = None,
    energy: Annotated[float | None, typer.Option(help="Share of each layer's output energy to keep.")] = None,
    rank: Annotated[int | None, typer.Option(help="Of every layer.")] = None,
    of: Annotated[str, typer.Option(help="What the ratio counts: parameters or macs.")] = "parameters",
    method: Annotated[str, typer.Option(help="activation-aware, svd, tucker or canonical.")] = "activation-aware",
    keep: Annotated[list[str] | None, typer.Option(help="Pattern of modules to leave alone; may be repeated.")] = None,
    metric: MetricName = None,
    batch_size: BatchSize = 64,
    out: Place = Path("laconic-factorized"),
    as_json: Json = False,
) -> None:
    """Replace layers by products of smaller ones, without training.

    Example: `laconic factorize my_nets:build --weights net.safetensors --data arrays/ --ratio 0.3`
    """
    from laconic.factorize import factorize as run

    chosen = _factorization(method)
    check_replaceable(out, FILES)
    network, task = load_model(model, weights), load_task(data, metric=metric, batch_size=batch_size)
    with _listening("factorize"):
        plan = run(
            network,
            task,
            ratio=ratio,
            energy=energy,
            rank=rank,
            of=of,  # type: ignore[arg-type]  # A wrong word is refused there, with the right ones.
            method=chosen,
            keep=keep or (),
        )
    _deliver(network, plan, task, out, as_json)


def price(
    model: ModelName,
    data: DataName,
    weights: Weights = None,
    measure: Annotated[int, typer.Option(min=0, help="Offers measured to correct the predictions.")] = 48,
    everything: Annotated[
        bool, typer.Option("--everything", help="Offer what rarely wins too: masked codebooks, sums, dictionaries.")
    ] = False,
    size: Annotated[str | None, typer.Option(help="Show the best choice for this size too: 0.1 or '90 KB'.")] = None,
    metric: MetricName = None,
    batch_size: BatchSize = 64,
    as_json: Json = False,
) -> None:
    """List what every technique would cost and save on every layer; nothing is changed or written.

    Example: `laconic price my_nets:build --weights net.safetensors --data arrays/ --size 0.1`
    """
    from laconic.select import EVERYTHING, MENU, allocate
    from laconic.select import price as run

    budget = None if size is None else Budget(size=size)
    network, task = load_model(model, weights), load_task(data, metric=metric, batch_size=batch_size)
    with _listening("price"):
        prices = run(network, task, techniques=EVERYTHING if everything else MENU, measure=measure)
    choice = None if budget is None else allocate(prices, budget)
    if as_json:
        chosen = None if choice is None else {offer.layer: offer.level for offer in choice.all}
        print_json({"offers": list(prices.rows()), "choice": chosen, "notes": list(prices.notes)})
        return
    console = Console(highlight=False, markup=False)  # Names from a model are shown, not obeyed.
    console.print(str(prices), soft_wrap=True)
    if choice is not None:
        console.print(f"\nFor {budget}: {choice}", soft_wrap=True)


def _bits(said: str) -> int | dict[str, int | None]:
    """Reads a number, or `PATTERN=NUMBER` by commas.

    Raises:
        UsageError: it is neither.
    """
    if said.isdecimal():
        return int(said)
    found = dict(part.strip().rpartition("=")[::2] for part in said.split(","))
    if not all(pattern and number.isdecimal() for pattern, number in found.items()):
        raise invalid("quantize.bits", said, "a whole number from 2 to 8, or PATTERN=NUMBER by commas")
    return {pattern: int(number) for pattern, number in found.items()}


def _factorization(name: str) -> Factorization:
    from laconic.factorize import SVD, ActivationAwareSVD, CanonicalPolyadic, Tucker2

    known: dict[str, Factorization] = {
        "activation-aware": ActivationAwareSVD(),
        "svd": SVD(),
        "tucker": Tucker2(),
        "canonical": CanonicalPolyadic(),
    }
    if name not in known:
        raise invalid("factorize.method", name, f"one of {', '.join(known)}")
    return known[name]


@contextmanager
def _listening(doing: str) -> Iterator[None]:
    """Shows what is being done while it is."""
    terminal = Terminal()
    terminal.begin(doing)
    try:
        yield
    finally:
        terminal.end()


def _corrected(network: nn.Module, plan: Plan, task: Task) -> Plan:
    from laconic.solve import correct

    return correct(network, plan, task)


def _deliver(network: nn.Module, plan: Plan, task: Task, out: Path, as_json: bool) -> None:
    """Writes the changed network, and says what became of it."""
    from laconic.cli.teach import scores
    from laconic.core.apply import apply

    changed = apply(network, plan)
    with replacing(out, FILES) as folder:
        save_state(folder, changed, plan)
    before = sum(t.numel() * t.element_size() for t in network.state_dict().values())
    after = sum(path.stat().st_size for path in out.iterdir())
    found: dict[str, Any] = {
        "edits": [str(edit) for edit in plan],
        "bytes": [before, after],
        "scores": scores(task, {"original": network, "changed": changed}),
        "out": str(out),
    }
    if as_json:
        print_json(found)
        return
    console = Console(highlight=False, markup=False)  # Names from a model are shown, not obeyed.
    console.print(str(plan), soft_wrap=True)
    console.print(f"{before:,} bytes of tensors -> {after:,} bytes in {out} ({after / before:.1%})", soft_wrap=True)
    for name, score in found["scores"].items():
        console.print(f"{name}: {score['metric']} {score['value']:.4f}")
