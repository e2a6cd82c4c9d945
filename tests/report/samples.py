"""Reports to render: a realistic one, and the awkward ones."""

from __future__ import annotations

import dataclasses
import random
import statistics

from laconic.core.budget import Budget
from laconic.core.target import Target
from laconic.measure import Agreement, Divergence, Figures, Interval, Latency, Score, wilson
from laconic.report import Attempt, LayerRow, Report

HOSTILE = "</script><script>alert('x')</script><b>bold</b> & \"quoted\" | `code` *star* [red]markup[/red] {{ 7 * 7 }}"


def latency(median_ms: float, *, seed: int = 0, samples: int = 40) -> Latency:
    noise = random.Random(seed)
    times = [median_ms * (1 + 0.04 * noise.random() ** 3) for _ in range(samples)]
    low, middle, high = statistics.quantiles(times, n=4)
    return Latency(median_ms=middle, low_ms=low, high_ms=high, samples_ms=tuple(times), calls_per_sample=8)


def accuracy(right: int, of: int = 360) -> Score:
    return Score(metric="accuracy", value=right / of, interval=wilson(right, of), predictions=of, higher_is_better=True)


def figures(name: str, *, size: int, ms: float, right: int, kl: float | None = None, seed: int = 0) -> Figures:
    moved = Divergence(
        kl_nats=kl,
        kl_interval=Interval(low=0.8 * (kl or 0), high=1.3 * (kl or 0)),
        top1_agreement=359 / 360,
        top1_interval=wilson(359, 360),
        predictions=360,
    )
    return Figures(
        name=name,
        runtime="onnxruntime 1.31",
        size_bytes=size,
        parameters=494_410,
        macs=4_718_592,
        latency={1: latency(ms, seed=seed), 2: latency(0.7 * ms, seed=seed + 1)},
        peak_memory_bytes=61_440_000 + 2 * size,
        score=accuracy(right),
        divergence=moved if kl is not None else None,
        agreement=Agreement(max_abs_error=2.4e-6, mean_abs_error=3.1e-7, relative_error=1.1e-7, top1=1.0, outputs=3600),
        missing={} if kl is not None else {"divergence": "it is the reference"},
    )


def layers() -> tuple[LayerRow, ...]:
    def row(name: str, kind: str, shape: tuple[int, ...], bits: int, kernel: str, why: str) -> LayerRow:
        size = 1
        for n in shape:
            size *= n
        done = f"weights to {bits}-bit integers, one scale per output channel" if bits < 32 else "left in 32-bit floats"
        return LayerRow(
            name=name,
            kind=kind,
            parameters=size + shape[0],
            bytes_before=4 * (size + shape[0]),
            bytes_after=size * bits // 8 + 4 * shape[0],
            done=done,
            kernel=kernel,
            why=why,
        )

    integer = "cheap in accuracy, and the runtime has a fast integer kernel"
    return (
        row(
            "features.0", "Conv2d", (32, 1, 3, 3), 32, "float convolution", "first layer: tiny, and the most sensitive"
        ),
        row("features.3", "Conv2d", (64, 32, 3, 3), 8, "QLinearConv", integer),
        row("features.6", "Conv2d", (128, 64, 3, 3), 8, "QLinearConv", integer),
        row("classifier.0", "Linear", (192, 2048), 4, "MatMulNBits", "holds most of the bytes"),
        row("classifier.3", "Linear", (10, 192), 8, "QGemm", integer),
    )


def digits() -> Report:
    """The demo's report, as it should be."""
    original = figures("original", size=1_980_432, ms=0.412, right=355)
    compressed = figures("int8 + int4", size=308_914, ms=0.251, right=354, kl=0.00213, seed=5)
    return Report(
        title="Digits network, compressed for ONNX Runtime",
        model="Convolutional network with 5 layers, trained on handwritten digits",
        task="360 held-out digits of scikit-learn's handwriting data",
        target=Target(threads=1),
        budget=Budget(size=0.25, latency="0.4 ms", drop="0.6 %"),
        original=original,
        compressed=compressed,
        attempts=(
            Attempt(
                name="int8",
                plan="All layers to 8-bit integers, activations too.",
                figures=figures("int8", size=512_300, ms=0.243, right=355, kl=0.0004, seed=3),
                accepted=False,
                why="too large: 512,300 B, at most 495,108 B allowed",
            ),
            Attempt(
                name="int4",
                plan="All layers to 4-bit integers in groups of 32.",
                figures=figures("int4", size=281_004, ms=0.571, right=349, kl=0.031, seed=4),
                accepted=False,
                why="slower than the original (1.4x) and 1.67 points lost, at most 0.60 allowed",
            ),
            Attempt(
                name="int8 + int4",
                plan="Convolutions to 8 bits, the large linear layer to 4 bits; 3 epochs of distillation.",
                figures=compressed,
                accepted=True,
                why="meets every limit",
            ),
        ),
        layers=layers(),
        plan_words=tuple(f"{row.name}: {row.done}" for row in layers() if "left" not in row.done),
        methods=(
            ("File size", "Bytes of the ONNX file on disk, weights included."),
            ("Latency", "ONNX Runtime, batch 1; 40 rounds after 2 of warm-up, both models in turn in each round."),
            ("Peak memory", "Peak resident set of a fresh process that loads the file and runs it 10 times."),
            ("Accuracy", "Share of right answers of the exported file; the interval is Wilson's, 95 %."),
        ),
        command="laconic compress demo:model --data demo:data --budget 'size=0.25,latency=0.4 ms,drop=0.6 %' --seed 0",
        facts=(("laconic", "0.1.0"), ("torch", "2.13.0"), ("onnxruntime", "1.31.0"), ("Processor", "2 cores, x86-64")),
        warnings=("The two layers not run in integers hold 2 % of the time.",),
        seconds=(("train", 9.4), ("calibrate", 1.2), ("distil", 31.0), ("export", 3.8), ("measure", 12.6)),
    )


def missed() -> Report:
    """A budget that was not met, and a model that became slower."""
    report = digits()
    slower = figures("int4", size=281_004, ms=0.571, right=349, kl=0.031, seed=4)
    misses = (
        "latency: 0.571 ms, at most 0.4 ms allowed, 42.8% over",
        "drop: 1.67 points lost, at most 0.6 points allowed",
    )
    whys = ("too large", "the smallest; still too slow", "too slow on a loaded machine")
    attempts = tuple(
        dataclasses.replace(attempt, accepted=attempt.name == "int4", why=why)
        for attempt, why in zip(report.attempts, whys, strict=True)
    )
    return dataclasses.replace(report, compressed=slower, misses=misses, attempts=attempts)


def unmeasured() -> Report:
    """Nothing could be measured but the size of the original."""
    reasons = {
        "size_bytes": "the artifact was not written",
        "macs": "the model cannot be captured: it branches on its data",
        "latency": "the runtime refuses the file",
        "peak_memory_bytes": "this system does not tell a process's peak",
        "score": "the evaluation data has no labels",
    }
    original = Figures(name="original", size_bytes=1_980_432, missing={"score": reasons["score"]})
    return dataclasses.replace(
        digits(),
        original=original,
        compressed=Figures(name="int8", missing=reasons),
        misses=("size: not measured, because the artifact was not written",),
        attempts=(),
        layers=(),
    )


def regression() -> Report:
    """A metric that is better when lower, without classes."""

    def scored(found: Figures, value: float) -> Figures:
        interval = Interval(low=0.95 * value, high=1.05 * value)
        score = Score(metric="mse", value=value, interval=interval, predictions=1200, higher_is_better=False)
        moved = Divergence(relative_error=0.0214, predictions=1200)
        agreed = Agreement(max_abs_error=1e-6, mean_abs_error=1e-7, relative_error=2e-7, top1=None, outputs=1200)
        return dataclasses.replace(found, score=score, divergence=moved, agreement=agreed, missing={})

    report = digits()
    attempts = tuple(
        dataclasses.replace(attempt, figures=scored(attempt.figures, 0.0118 + 0.001 * number))
        for number, attempt in enumerate(report.attempts)
    )
    return dataclasses.replace(
        report,
        title="Series forecaster",
        budget=Budget(size=0.25, drop=0.002),
        original=scored(report.original, 0.0113),
        compressed=scored(report.compressed, 0.0126),
        attempts=attempts,
    )


def huge() -> Report:
    """200 layers with very long names."""
    rows = tuple(
        LayerRow(
            name=f"model.encoder.layers.{number}.self_attention_with_relative_positions.output.dense_projection",
            kind="Linear",
            parameters=1000 * (1 + number % 17) ** 2,
            bytes_before=4000 * (1 + number % 17) ** 2,
            bytes_after=700 * (1 + number % 17) ** 2,
            done="weights to 5-bit integers in groups of 64",
        )
        for number in range(200)
    )
    return dataclasses.replace(digits(), layers=rows, plan_words=tuple(f"{row.name}: {row.done}" for row in rows))


def hostile() -> Report:
    """Every text that comes from outside tries to break the page."""
    report = digits()
    return dataclasses.replace(
        report,
        title=HOSTILE,
        model=HOSTILE,
        task=HOSTILE,
        command=HOSTILE,
        misses=(HOSTILE,),
        warnings=(HOSTILE,),
        plan_words=(HOSTILE,),
        methods=((HOSTILE, HOSTILE),),
        facts=((HOSTILE, HOSTILE),),
        attempts=tuple(dataclasses.replace(one, name=HOSTILE, plan=HOSTILE, why=HOSTILE) for one in report.attempts),
        layers=tuple(dataclasses.replace(one, name=HOSTILE + one.name, done=HOSTILE) for one in report.layers),
    )


ALL = {
    "digits": digits,
    "missed": missed,
    "unmeasured": unmeasured,
    "regression": regression,
    "huge": huge,
    "hostile": hostile,
}
