"""Single weights become zero: one technique = one file; where zeros may lie is a pattern."""

from laconic.prune.weights.alternating import AlternatingSparsity
from laconic.prune.weights.brain_damage import BrainDamage
from laconic.prune.weights.compensated import CompensatedSparsity
from laconic.prune.weights.distribution import ByPrice, Distribution, ErdosRenyiKernel, GlobalScore, Uniform
from laconic.prune.weights.magnitude import SmallestWeights
from laconic.prune.weights.mask_then import MaskThen
from laconic.prune.weights.patterns import BlockPattern, NOfM, Pattern, pattern_of
from laconic.prune.weights.technique import Sparsification
from laconic.prune.weights.wanda import Wanda
from laconic.prune.weights.whole import sparsify, sparsity_of

ALL: tuple[type[Sparsification], ...] = (SmallestWeights, Wanda, BrainDamage, CompensatedSparsity, AlternatingSparsity)

__all__ = [
    "ALL",
    "AlternatingSparsity",
    "BlockPattern",
    "BrainDamage",
    "ByPrice",
    "CompensatedSparsity",
    "Distribution",
    "ErdosRenyiKernel",
    "GlobalScore",
    "MaskThen",
    "NOfM",
    "Pattern",
    "SmallestWeights",
    "Sparsification",
    "Uniform",
    "Wanda",
    "pattern_of",
    "sparsify",
    "sparsity_of",
]
