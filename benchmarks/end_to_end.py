"""The main job from a trained network to the measured artifact, on digits, text and sound.

The last line has the digits row, as means over seeds: ratios are compressed / original, in ONNX Runtime.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from typing import Any

import laconic
import manner
from laconic import demo

sys.path.insert(0, str(manner.REPOSITORY / "examples"))
import sound
import text


def digits(seed: int) -> laconic.Result:
    """The demo."""
    task = demo.digits()
    model = demo.trained_network(task, seed=seed)
    recovery = laconic.Recovery.for_epochs(demo.RECOVERY_EPOCHS, seed=seed)
    return laconic.compress(model, task, demo.BUDGET, recovery=recovery, seed=seed)


ROWS: dict[str, Callable[[int], laconic.Result]] = {
    "digits": digits,
    "text": lambda seed: text.main(seed=seed),
    "sound": lambda seed: sound.main(seed=seed),
}


def figures(result: laconic.Result) -> dict[str, Any]:
    """Returns the row's figures, read off the report."""
    report = result.report
    original, compressed = report.original, report.compressed
    threads = report.target.threads
    stages: dict[str, float] = {}
    for name, seconds in report.seconds:
        stage = name.rpartition("/")[2]
        stages[stage] = stages.get(stage, 0.0) + seconds
    return {
        "met": report.met,
        "bytes_ratio": compressed.size_bytes / original.size_bytes,
        "latency_ratio": compressed.latency[threads].median_ms / original.latency[threads].median_ms,
        "accuracy_drop_points": 100 * (original.score.value - compressed.score.value),
        "kl_nats": compressed.divergence.kl_nats,
        "seconds": {name: round(seconds, 1) for name, seconds in stages.items()},
    }


def mean(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the mean over seeds of every figure."""
    names = ("bytes_ratio", "latency_ratio", "accuracy_drop_points", "kl_nats")
    stages = {name for run in runs for name in run["seconds"]}
    return {
        **{name: statistics.mean(run[name] for run in runs) for name in names},
        "seconds": {s: round(statistics.mean(run["seconds"].get(s, 0.0) for run in runs), 1) for s in sorted(stages)},
    }


def main() -> None:
    """Runs the rows."""
    given = manner.options(__doc__, list(ROWS), seeds=3)
    manner.line("row", "seed", "met", "bytes", "latency", "drop", "KL")
    results: dict[str, list[dict[str, Any]]] = {}
    for row in given.rows:
        for seed in given.seeds:
            found = figures(ROWS[row](seed))
            results.setdefault(row, []).append(found)
            shown = (
                f"{found[name]:.4g}" for name in ("bytes_ratio", "latency_ratio", "accuracy_drop_points", "kl_nats")
            )
            manner.line(row, seed, found["met"], *shown)
    means = {row: mean(runs) for row, runs in results.items()}
    first = next(iter(means))
    manner.finish({**means[first], "row": first, "seeds": len(given.seeds), "others": means})


if __name__ == "__main__":
    main()
