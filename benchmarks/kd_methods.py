"""Every way to learn from a teacher against none, on one small pair of networks and an equal budget.

Fashion-MNIST, the first 5,000 training images and all 10,000 test images; a convolutional teacher, and a student of a
quarter of its width (a sixteenth of its weights). Losses on attention have a pair of small transformers and are
measured against that student on labels. Every student sees the same images equally often, with the same
optimizer and the same start for each seed; the accuracy is that after the last epoch. Weights are not tuned: a loss on
answers, or on features divided by its size before the first step, is added to the loss on labels with weight 1. A
method is better only if its gain is larger than the spread over seeds of its accuracy and of the plain student's.
`--write` keeps every run as soon as it is there, and what is there is not run again;
`--table` prints what there is in Markdown.
"""

from __future__ import annotations

import datetime
import json
import statistics
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import laconic
import manner
from laconic import distill as one_call
from laconic.distill import (
    ActivationBoundaries,
    AttentionMaps,
    AttentionTransfer,
    ChannelCorrelation,
    ChannelDistributions,
    ClassConsistency,
    ConfidenceTemperature,
    Contrastive,
    ContrastiveMemory,
    CorrelationCongruence,
    CosineFeatures,
    Decoupled,
    Dist,
    DistillationLoss,
    EachTeacher,
    Ensemble,
    FactorTransfer,
    Flow,
    FocalTemperature,
    Gram,
    HierarchicalContext,
    JensenShannon,
    Labels,
    LogarithmicFeatures,
    Match,
    NeuronSelectivity,
    NoisyTeacher,
    PositionAffinity,
    PrimeAware,
    ProbabilisticTransfer,
    ProbabilityShift,
    Ramp,
    RelationalAngle,
    RelationalDistance,
    Review,
    SameFeatures,
    SameLogits,
    SimilarityPreserving,
    SoftLabels,
    StandardisedSoftLabels,
    Sum,
    TopSoftLabels,
    UniversalLogits,
    ValueRelations,
    Variational,
    VirtualTeacher,
    Weighted,
    fitted_weights,
)
from laconic.distill.augment import Mixup
from laconic.train import (
    AdamW,
    Training,
    born_again,
    distill_through_assistants,
    distillation,
    freezing,
    in_turn,
    mean_teacher,
    mutual,
    own_teacher,
    supervised,
    train,
    without_teacher,
)
from small_transformer import transformer

TEACHER, STUDENT = (32, 64, 128), (8, 16, 32)
TEACHER_WIDTH, STUDENT_WIDTH, TEACHER_DEPTH, STUDENT_DEPTH = 64, 32, 4, 2
TEACHER_EPOCHS, EPOCHS, IMAGES, TESTED = 12, 5, 5_000, 10_000
RATE = 3e-3
RESULTS = manner.REPOSITORY / "benchmarks" / "results" / "kd_methods.json"
NOT_RUN = {
    "BinarySoftLabels": "for samples of several classes",
    "SquaredError": "for outputs that are values",
    "on_policy, dictation": "for sequences",
    "remembered_images": "without data, so not at an equal budget",
    "multitask": "for several tasks",
}
Row = Callable[[nn.Module, nn.Module, laconic.Task, int], nn.Module]


def network(widths: tuple[int, int, int], seed: int) -> nn.Module:
    """Returns an untrained network for images of 28 x 28 pixels."""

    def unit(inputs: int, outputs: int, stride: int) -> nn.Module:
        convolution = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())

    torch.manual_seed(seed)
    low, middle, high = widths
    layers = {
        "low": unit(1, low, 2),
        "middle": unit(low, middle, 2),
        "high": unit(middle, high, 1),
        "pool": nn.MaxPool2d(2),
        "flat": nn.Flatten(),
        "head": nn.Linear(9 * high, 10),
    }
    return nn.Sequential(OrderedDict(layers))


def fashion() -> laconic.Task:
    """Returns the data, pixels from -1 to 1."""
    read = manner.shared_data()

    def loader(split: str, *, shuffle: bool) -> DataLoader[tuple[Tensor, ...]]:
        count = IMAGES if shuffle else TESTED
        images, labels = (torch.from_numpy(part[:count].copy()) for part in read.fashion_mnist(split))
        data = TensorDataset(images[:, None].float() / 127.5 - 1, labels.long())
        return DataLoader(data, batch_size=100, shuffle=shuffle)

    return laconic.Task(train=loader("train", shuffle=True), evaluate=loader("test", shuffle=False))


def accuracy(model: nn.Module, task: laconic.Task) -> float:
    """Returns the share of test images that are classified right, in percent."""
    with torch.no_grad():
        hits = [(task.forward(model, b).argmax(-1) == b.labels).float() for b in task.batches("evaluate")]
    return 100 * torch.cat(hits).mean().item()


def budget(seed: int) -> Training:
    return Training(epochs=EPOCHS, optimizer=AdamW(learning_rate=RATE), seed=seed)


def answers(loss: DistillationLoss) -> Row:
    """A loss on answers beside the labels."""
    both = Sum(losses=(Labels(), loss))
    return lambda teacher, student, task, seed: one_call(teacher, student, task, loss=both, training=budget(seed))


def alone(loss: DistillationLoss) -> Row:
    """A loss beside the labels that asks no teacher."""
    both = Sum(losses=(Labels(), loss))
    return lambda _teacher, student, task, seed: (
        train(student, task, budget(seed), objective=without_teacher(task, both)).model
    )


def features(loss: Any, layer: str | tuple[str, ...], **options: Any) -> Row:
    """A loss on one layer beside the labels."""
    match = Match(teacher=layer, student=layer, loss=loss, balance=True, **options)
    return lambda teacher, student, task, seed: one_call(
        teacher, student, task, loss=Labels(), match=[match], training=budget(seed)
    )


def attention(loss: Any, site: str) -> Row:
    """A loss on the last block's attention beside the labels."""
    teacher, student = (f"blocks.{depth - 1}.attention.{site}" for depth in (TEACHER_DEPTH, STUDENT_DEPTH))
    match = Match(teacher=teacher, student=student, loss=loss, balance=True)
    return lambda teacher, student, task, seed: one_call(
        teacher, student, task, loss=Labels(), match=[match], training=budget(seed)
    )


def plain(_teacher: nn.Module, student: nn.Module, task: laconic.Task, seed: int) -> nn.Module:
    return train(student, task, budget(seed), objective=supervised(task)).model


def two_teachers(teacher: nn.Module, student: nn.Module, task: laconic.Task, seed: int) -> nn.Module:
    loss = Sum(losses=(Labels(), SoftLabels(temperature=4)))
    ensemble = Ensemble([teacher, second_teacher(task)], temperature=4)
    return one_call(ensemble, student, task, loss=loss, training=budget(seed))


def two_weighed(teacher: nn.Module, student: nn.Module, task: laconic.Task, seed: int) -> nn.Module:
    members = [teacher, second_teacher(task)]
    ensemble = Ensemble(members, weights=fitted_weights(members, task), temperature=4)
    loss = Sum(losses=(Labels(), SoftLabels(temperature=4)))
    return one_call(ensemble, student, task, loss=loss, training=budget(seed))


def each_teacher(by: Any) -> Row:
    loss = Sum(losses=(Labels(), EachTeacher(loss=SoftLabels(temperature=4), by=by, temperature=4)))
    return lambda teacher, student, task, seed: one_call(
        Ensemble([teacher, second_teacher(task)], mixed=False), student, task, loss=loss, training=budget(seed)
    )


def all_layers(match: str) -> Row:
    return lambda teacher, student, task, seed: one_call(
        teacher, student, task, loss=Labels(), match=match, training=budget(seed)
    )


def mixed_up(teacher: nn.Module, student: nn.Module, task: laconic.Task, seed: int) -> nn.Module:
    loss = SoftLabels(temperature=4)  # A mixture has no label: the teacher alone says what it is.
    return one_call(teacher, student, task, loss=loss, augment=[Mixup(alpha=0.2)], training=budget(seed))


def through_an_assistant(teacher: nn.Module, student: nn.Module, task: laconic.Task, seed: int) -> nn.Module:
    loss = Sum(losses=(Labels(), SoftLabels(temperature=4)))
    return distill_through_assistants(teacher, student, task, loss=loss, training=budget(seed)).model


def two_peers(_teacher: nn.Module, student: nn.Module, task: laconic.Task, seed: int) -> nn.Module:
    loss = Sum(losses=(Labels(), SoftLabels(temperature=1)))
    objective = mutual([network(STUDENT, 1000 + seed)], task, loss)
    return train(student, task, budget(seed), objective=objective).model


def own_mean(_teacher: nn.Module, student: nn.Module, task: laconic.Task, seed: int) -> nn.Module:
    loss = Sum(losses=(Labels(), SoftLabels(temperature=1)))
    return train(student, task, budget(seed), objective=mean_teacher(task, loss, decay=0.99)).model


def early_exits(_teacher: nn.Module, student: nn.Module, task: laconic.Task, seed: int) -> nn.Module:
    return train(student, task, budget(seed), objective=own_teacher(task, ["low", "middle"])).model


def generations(_teacher: nn.Module, student: nn.Module, task: laconic.Task, seed: int) -> nn.Module:
    """The student's own size, twice: each generation has the budget of a row."""
    loss = Sum(losses=(Labels(), SoftLabels(temperature=4)))
    first = plain(_teacher, student, task, seed)
    training = budget(seed)
    return born_again(first, lambda: network(STUDENT, seed), task, generations=1, loss=loss, training=training).model


def teachers_in_turn(teacher: nn.Module, student: nn.Module, task: laconic.Task, seed: int) -> nn.Module:
    loss = Sum(losses=(Labels(), SoftLabels(temperature=4)))
    stages = {0.0: distillation(second_teacher(task), task, loss), 0.5: distillation(teacher, task, loss)}
    return train(student, task, budget(seed), objective=in_turn(stages)).model


def resting(teacher: nn.Module, student: nn.Module, task: laconic.Task, seed: int) -> nn.Module:
    loss = Sum(losses=(Labels(), SoftLabels(temperature=4)))
    objective = freezing(distillation(teacher, task, loss), {"low.*": 0.5})
    return train(student, task, budget(seed), objective=objective).model


ROWS: dict[str, Row] = {
    "no distillation": plain,
    "SoftLabels": answers(SoftLabels(temperature=4)),
    "SameLogits": answers(SameLogits()),
    "Decoupled": answers(Weighted(loss=Decoupled(temperature=4), schedule=Ramp(until=0.1))),  # The paper warms it up.
    "Dist": answers(Dist()),
    "StandardisedSoftLabels": answers(StandardisedSoftLabels()),
    "TopSoftLabels": answers(TopSoftLabels(k=3, temperature=4)),
    "JensenShannon": answers(JensenShannon(beta=0.5, temperature=4)),
    "UniversalLogits": answers(UniversalLogits()),
    "FocalTemperature": answers(SoftLabels(temperature=4, sample_temperature=FocalTemperature(beta=2))),
    "ConfidenceTemperature": answers(SoftLabels(temperature=4, sample_temperature=ConfidenceTemperature(beta=1))),
    "NoisyTeacher": answers(NoisyTeacher(loss=SoftLabels(temperature=4))),
    "VirtualTeacher": alone(VirtualTeacher(loss=SoftLabels(temperature=20))),
    "ClassConsistency": alone(ClassConsistency()),
    "ProbabilityShift": answers(ProbabilityShift(loss=SoftLabels(temperature=4))),
    "SameFeatures": features(SameFeatures(), "high", projection="conv"),
    "AttentionTransfer": features(AttentionTransfer(), "high"),
    "Gram": features(Gram(), "high", projection="conv"),
    "Flow": features(Flow(), ("middle", "high"), projection="conv"),
    "NeuronSelectivity": features(NeuronSelectivity(), "high"),
    "SimilarityPreserving": features(SimilarityPreserving(), "high"),
    "RelationalDistance": features(RelationalDistance(), "flat"),
    "CorrelationCongruence": features(CorrelationCongruence(), "flat"),
    "ProbabilisticTransfer": features(ProbabilisticTransfer(), "flat"),
    "Variational": features(Variational(), "high", projection="conv"),
    "CosineFeatures": features(CosineFeatures(), "flat", projection="linear"),
    "Contrastive": features(Contrastive(), "flat"),
    "ContrastiveMemory": features(ContrastiveMemory(samples=IMAGES, negatives=1024), "flat"),
    "HierarchicalContext": features(HierarchicalContext(), "high", projection="conv"),
    "Review": features(Review(), ("low", "middle", "high"), schedule=Ramp(until=0.1)),  # The paper warms it up.
    "ChannelDistributions": features(ChannelDistributions(), "high", projection="conv"),
    "PositionAffinity": features(PositionAffinity(), "high"),
    "ActivationBoundaries": features(ActivationBoundaries(), "high.1", projection="conv"),  # Before its ReLU.
    "LogarithmicFeatures": features(LogarithmicFeatures(), "flat"),
    "ChannelCorrelation": features(ChannelCorrelation(), "high", projection="conv"),
    "FactorTransfer": features(FactorTransfer(), "high"),
    "PrimeAware": features(PrimeAware(), "flat", projection="linear"),
    "match=auto": all_layers("auto"),
    "match=learned": all_layers("learned"),
    "Mixup": mixed_up,
    "assistant": through_an_assistant,
    "two teachers": two_teachers,
    "two teachers, fitted weights": two_weighed,
    "two teachers, by entropy": each_teacher("entropy"),
    "two teachers, by confidence": each_teacher("confidence"),
    "mutual": two_peers,
    "mean teacher": own_mean,
    "own teacher": early_exits,
    "born again, two generations": generations,
    "teachers in turn": teachers_in_turn,
    "first layer rests for a half": resting,
}

TRANSFORMERS: dict[str, Row] = {
    "transformer, no distillation": plain,
    "transformer, SoftLabels": answers(SoftLabels(temperature=4)),
    "transformer, AttentionMaps": attention(AttentionMaps(), "maps"),
    "transformer, AttentionMaps ce": attention(AttentionMaps(form="ce"), "maps"),
    "transformer, ValueRelations": attention(ValueRelations(heads=4), "values"),
    "transformer, match=auto": all_layers("auto"),
    "transformer, match=learned": all_layers("learned"),
}
"""Against their own plain student."""
ROWS |= TRANSFORMERS | {"RelationalAngle": features(RelationalAngle(), "flat")}  # The slowest comes last.

_SECOND: list[nn.Module] = []


def trained_teacher(task: laconic.Task, seed: int, *, transforming: bool = False) -> nn.Module:
    training = Training(epochs=TEACHER_EPOCHS, optimizer=AdamW(learning_rate=RATE), seed=seed)
    untrained = transformer(TEACHER_WIDTH, TEACHER_DEPTH, seed) if transforming else network(TEACHER, seed)
    return train(untrained, task, training, objective=supervised(task)).model


def student_of(row: str, seed: int) -> nn.Module:
    """Returns the untrained student of a row."""
    return transformer(STUDENT_WIDTH, STUDENT_DEPTH, seed) if row in TRANSFORMERS else network(STUDENT, seed)


def second_teacher(task: laconic.Task) -> nn.Module:
    """Returns another teacher, trained when it is first asked for."""
    if not _SECOND:
        _SECOND.append(trained_teacher(task, 1))
    return _SECOND[0]


def summary(found: dict[str, dict[str, float]]) -> dict[str, dict[str, Any]]:
    """Returns mean, spread and gain of every row; the gain is over the plain student of the same seeds."""
    bases = {row: "transformer, no distillation" if row in TRANSFORMERS else "no distillation" for row in found}
    spread = {row: statistics.stdev(runs.values()) if len(runs) > 1 else 0.0 for row, runs in found.items()}
    gains = {
        row: statistics.mean(runs[seed] - found[bases[row]][seed] for seed in runs if seed in found[bases[row]])
        for row, runs in found.items()
    }
    return {
        row: {
            "accuracy": round(statistics.mean(runs.values()), 2),
            "spread": round(spread[row], 2),
            "seeds": len(runs),
            "gain": round(gains[row], 2),
            "better": len(runs) > 1 and gains[row] > max(spread[row], spread[bases[row]]),
        }
        for row, runs in found.items()
    }


def flag(name: str) -> bool:
    """Takes one of this script's own flags off the command line."""
    given = name in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != name]
    return given


def kept() -> dict[str, Any]:
    """Returns the file of results, or what it begins as."""
    if RESULTS.exists():
        found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
        return found
    return {"teacher_accuracy": None, "runs": {}}


def write(found: dict[str, Any]) -> None:
    """Writes the runs so far, and what they say."""
    about = {
        "command": ".venv/bin/python benchmarks/kd_methods.py --write",
        "date": datetime.date.today().isoformat(),
        "machine": f"{manner.machine()}, 2 shared CPU cores",
        "seed": "0 and up, one each run",
        "epochs": EPOCHS,
        "images": IMAGES,
        "teacher_accuracy": found["teacher_accuracy"],
        "transformer_accuracy": found.get("transformer_accuracy"),
        "methods": summary(found["runs"]),
        "not_run": NOT_RUN,
        "runs": found["runs"],
    }
    text = json.dumps(about, indent=1)
    RESULTS.write_text(text + "\n", encoding="utf-8")


def table(found: dict[str, Any]) -> str:
    """Returns the runs so far as a table in Markdown, best gain first within each pair of networks."""
    rows = summary(found["runs"])
    lines = ["| row | accuracy | gain | seeds | above plain by more than the spread |", "|---|---|---|---|---|"]
    for row, figures in sorted(rows.items(), key=lambda item: (item[0] in TRANSFORMERS, -item[1]["gain"])):
        said = "one seed: not said" if figures["seeds"] == 1 else "yes" if figures["better"] else "no"
        spread = f" ± {figures['spread']:.2f}" * (figures["seeds"] > 1)
        gain = "" if row in ("no distillation", "transformer, no distillation") else f"{figures['gain']:+.2f}"
        lines.append(
            f"| {row} | {figures['accuracy']:.2f}{spread} | {gain} | {figures['seeds']} | {said * bool(gain)} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Runs the rows."""
    if flag("--table"):
        print(table(kept()))
        return
    writing = flag("--write")
    given = manner.options(__doc__ or "", list(ROWS), seeds=3)
    torch.set_num_threads(1)
    found = kept() if writing else {"teacher_accuracy": None, "runs": {}}
    rows = ["no distillation", *(row for row in given.rows if row != "no distillation")]
    if any(row in TRANSFORMERS for row in rows):
        rows = [*dict.fromkeys([rows[0], "transformer, no distillation", *rows[1:]])]
    due = [(row, seed) for seed in given.seeds for row in rows if str(seed) not in found["runs"].get(row, {})]
    task = fashion()
    teachers: dict[bool, nn.Module] = {}
    for row, seed in due:
        if (transforming := row in TRANSFORMERS) not in teachers:
            teachers[transforming] = trained_teacher(task, 0, transforming=transforming)
            key = "transformer_accuracy" if transforming else "teacher_accuracy"
            found[key] = round(accuracy(teachers[transforming], task), 2)
            manner.line(key, f"{found[key]:.2f} %")
        started = time.process_time()
        right = accuracy(ROWS[row](teachers[transforming], student_of(row, seed), task, seed), task)
        found["runs"].setdefault(row, {})[str(seed)] = round(right, 2)
        manner.line(
            row, f"seed {seed}", f"{right:.2f} %", f"{time.process_time() - started:.0f} s", widths=(32, 10, 10, 8)
        )
        if writing:
            write(found)
    manner.finish(
        {
            "teacher_accuracy": found["teacher_accuracy"],
            "transformer_accuracy": found.get("transformer_accuracy"),
            "methods": summary(found["runs"]),
            "not_run": NOT_RUN,
            "seeds": len(given.seeds),
            "epochs": EPOCHS,
            "command": manner.command(),
            "machine": manner.machine(),
        }
    )


if __name__ == "__main__":
    main()
