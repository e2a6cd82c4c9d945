"""The one training loop, for labels and for teachers; what is learned from a teacher is said in `laconic.distill`."""

from laconic.train.adapting import Adapting
from laconic.train.assistants import Assisted, distill_through_assistants
from laconic.train.augmented import augmented
from laconic.train.balanced import balanced
from laconic.train.bar import Bar
from laconic.train.born_again import BornAgain, born_again
from laconic.train.cached_teacher import CachedTeacher, cache_bytes, cached_teacher
from laconic.train.compiled import compiled
from laconic.train.freezing import freezing
from laconic.train.held_back import held_back
from laconic.train.imitation import distillation
from laconic.train.in_turn import in_turn
from laconic.train.inversion import Inversion, remembered_images
from laconic.train.loop import Progress, Trained, train
from laconic.train.mean_teacher import mean_teacher
from laconic.train.multitask import multitask
from laconic.train.mutual import mutual
from laconic.train.objective import Moment, Objective, supervised
from laconic.train.on_policy import on_policy
from laconic.train.optimizer import SGD, AdamW
from laconic.train.own_teacher import own_teacher
from laconic.train.repeated import Repeated
from laconic.train.schedule import Constant, Cosine, Linear
from laconic.train.step import Callback, Step
from laconic.train.teach import default_loss, distill
from laconic.train.tracking import JsonLines
from laconic.train.training import Training
from laconic.train.tree_growth import tree_growth
from laconic.train.validation import Validation
from laconic.train.without_teacher import without_teacher

__all__ = [
    "SGD",
    "AdamW",
    "Adapting",
    "Assisted",
    "Bar",
    "BornAgain",
    "CachedTeacher",
    "Callback",
    "Constant",
    "Cosine",
    "Inversion",
    "JsonLines",
    "Linear",
    "Moment",
    "Objective",
    "Progress",
    "Repeated",
    "Step",
    "Trained",
    "Training",
    "Validation",
    "augmented",
    "balanced",
    "born_again",
    "cache_bytes",
    "cached_teacher",
    "compiled",
    "default_loss",
    "distill",
    "distill_through_assistants",
    "distillation",
    "freezing",
    "held_back",
    "in_turn",
    "mean_teacher",
    "multitask",
    "mutual",
    "on_policy",
    "own_teacher",
    "remembered_images",
    "supervised",
    "train",
    "tree_growth",
    "without_teacher",
]
