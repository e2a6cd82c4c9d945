"""`laconic prune`: channels, heads, neurons and widths go, or it is shown which would."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from laconic.cli.listen import Terminal
from laconic.cli.load import load_model, load_task
from laconic.cli.options import BatchSize, DataName, Json, MetricName, ModelName, Weights, print_json
from laconic.core.errors import invalid
from laconic.core.folders import check_replaceable
from laconic.core.target import Target

if TYPE_CHECKING:
    from laconic.prune import Importance, Pruned

Ratio = Annotated[float, typer.Option(help="Fraction to save, in [0, 1).")]


def prune(
    model: ModelName,
    data: DataName,
    weights: Weights = None,
    ratio: Ratio = 0.5,
    of: Annotated[str, typer.Option(help="What it is a fraction of: macs, parameters or slices.")] = "macs",
    scope: Annotated[
        str | None,
        typer.Option(help="What is ranked together: global, layer, kind or equal; by default what serves best."),
    ] = None,
    unit: Annotated[
        list[str] | None,
        typer.Option(help="What may go: axes (the default), blocks, or a kind such as heads; may be repeated."),
    ] = None,
    importance: Annotated[
        str | None,
        typer.Option(help="Which slices matter least: compensated (the default), magnitude, ... (docs/pruning.md)."),
    ] = None,
    target: Annotated[str | None, typer.Option(help="Where it will run; decides what sizes are rounded to.")] = None,
    round_to: Annotated[int | None, typer.Option(min=1, help="Sizes that are cut become a multiple of it.")] = None,
    least: Annotated[float, typer.Option(help="No axis keeps a smaller fraction of its slices, in [0, 1).")] = 0.0,
    keep: Annotated[
        list[str] | None, typer.Option(help="Pattern of parameters to leave alone, such as 'head.*'; may be repeated.")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Most samples that are read, without their labels.")] = 1024,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would go and what that would save; write nothing.")
    ] = False,
    metric: MetricName = None,
    batch_size: BatchSize = 64,
    out: Annotated[Path, typer.Option(help="Folder for plan and weights; a pruned model there is replaced.")] = Path(
        "laconic-pruned"
    ),
    as_json: Json = False,
) -> None:
    """Remove whole channels, heads, neurons and widths from a trained network, without training.

    Example: `laconic prune my_nets:build --weights net.safetensors --data arrays/ --ratio 0.5 --dry-run`
    """
    from laconic.cli.teach import scores
    from laconic.prune import prune as run
    from laconic.prune.saved import DESCRIPTION, FILES

    chosen = None if importance is None else criterion(importance)
    place = None if target is None else Target.parse(target)
    if not dry_run:
        check_replaceable(out, {DESCRIPTION, *FILES})
    network, task = load_model(model, weights), load_task(data, metric=metric, batch_size=batch_size)
    listener = Terminal()
    listener.begin("prune")
    try:
        pruned = run(
            network,
            task,
            ratio=ratio,
            of=of,  # type: ignore[arg-type]  # A wrong word is refused there, with the right ones.
            scope=scope,  # type: ignore[arg-type]
            importance=chosen,
            target=place,
            round_to=round_to,
            least=least,
            keep=keep or (),
            units=unit,
            compensate=None if dry_run else "weights",
            samples=samples,
        )
        scored = {} if dry_run else scores(task, {"original": network, "pruned": pruned.model})
    finally:
        listener.end()
    if not dry_run:
        pruned.save(out)
    found = {**described(pruned), "scores": scored, "out": None if dry_run else str(out)}
    if as_json:
        print_json(found)
    else:
        print_pruned(found)


def criterion(name: str) -> Importance:
    """Returns the criterion of a name such as `magnitude` or `geometric-median`, with its own defaults.

    Raises:
        UsageError: there is none of that name.
    """
    from laconic.prune import ALL

    known = {re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower(): kind for kind in ALL}
    if name.replace("_", "-") not in known:
        raise invalid("prune.importance", name, f"one of {', '.join(known)}")
    return known[name.replace("_", "-")]()


def described(pruned: Pruned) -> dict[str, Any]:
    """Returns what was cut and what that saves, as JSON values."""
    before, after = pruned.before, pruned.after
    return {
        "kind": pruned.kind,
        "why": pruned.why,
        "error": pruned.error,
        "macs": [before.macs, after.macs],
        "parameters": [before.parameter_count, after.parameter_count],
        "bytes": [before.parameter_bytes, after.parameter_bytes],
        "removed": dict(pruned.removed),
        "axes": [
            {
                "name": axis.name,
                "kind": axis.kind,
                "size": axis.size,
                "left": len(pruned.keep[axis.name]) if axis.name in pruned.keep else axis.size,
            }
            for axis in pruned.axes
        ],
        "frozen": pruned.axes.frozen_by(),
        "notes": list(pruned.notes),
    }


def print_pruned(found: dict[str, Any]) -> None:
    """Prints what `described` returned, with scores and the place it was written to."""
    console = Console(highlight=False, markup=False)  # Names from a model are shown, not obeyed.
    console.print(*_tables(found))
    done = found["out"] is not None
    if found["removed"]:
        console.print(f"Removed: {', '.join(found['removed'])}", soft_wrap=True)
    for why, places in found["frozen"].items():
        console.print(f"Frozen by {why}: {', '.join(places)}", soft_wrap=True)
    form = "your own class" if found["kind"] == "module" else f"a graph: {found['why'].rstrip('.')}"
    console.print(f"The model {'is' if done else 'would be'} {form}.", *found["notes"], sep="\n", soft_wrap=True)
    for name, score in found["scores"].items():
        console.print(f"{name}: {score['metric']} {score['value']:.4f}")
    console.print(f"Plan and weights are in {found['out']}" if done else "Nothing was written.", soft_wrap=True)


def _tables(found: dict[str, Any]) -> Iterator[Table]:
    cut = Table("axis", "kind", "size", "left", title="Cut")
    for axis in found["axes"]:
        if axis["left"] < axis["size"]:
            cut.add_row(Text(axis["name"]), axis["kind"], f"{axis['size']:,}", f"{axis['left']:,}")
    saved = Table("", "before", "after", "left", title="Saved")
    for name in ("macs", "parameters", "bytes"):
        before, after = found[name]
        ratio = f"{after / before:.1%}" if before else "-"
        saved.add_row("MACs" if name == "macs" else name, f"{before:,}", f"{after:,}", ratio)
    yield from ((cut, saved) if cut.row_count else (saved,))
