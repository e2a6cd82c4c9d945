"""Learning from a teacher: one loss = one file.

`Lesson` is what a loss on answers sees, `Pair` what a loss on features sees, `Match` says which features. Training
itself is in `laconic.train`.
"""

from laconic.distill.activation_boundaries import ActivationBoundaries
from laconic.distill.answers import Answers, answers
from laconic.distill.attended_layers import AttendedLayers
from laconic.distill.attention_maps import AttentionMaps
from laconic.distill.attention_transfer import AttentionTransfer
from laconic.distill.beams import Beams
from laconic.distill.binary_soft_labels import BinarySoftLabels
from laconic.distill.bounded_regression import BoundedRegression
from laconic.distill.by_gap import ByGap
from laconic.distill.channel_correlation import ChannelCorrelation
from laconic.distill.channel_distributions import ChannelDistributions
from laconic.distill.class_consistency import ClassConsistency
from laconic.distill.confidence_temperature import ConfidenceTemperature
from laconic.distill.contrastive import Contrastive
from laconic.distill.contrastive_memory import ContrastiveMemory
from laconic.distill.correlation_congruence import CorrelationCongruence
from laconic.distill.cosine_features import CosineFeatures
from laconic.distill.decoding import Decoding
from laconic.distill.decoupled import Decoupled
from laconic.distill.dictation import dictation
from laconic.distill.dist import Dist
from laconic.distill.each_head import EachHead
from laconic.distill.each_teacher import EachTeacher
from laconic.distill.ensemble import Ensemble
from laconic.distill.factor_transfer import FactorTransfer
from laconic.distill.feature import FeatureLoss, LearnedLoss
from laconic.distill.fitted_weights import fitted_weights
from laconic.distill.flow import Flow
from laconic.distill.focal_temperature import FocalTemperature
from laconic.distill.generated import Generated
from laconic.distill.gram import Gram
from laconic.distill.growing import continued, opening
from laconic.distill.hierarchical_context import HierarchicalContext
from laconic.distill.into_sklearn import Tabular, into_sklearn
from laconic.distill.jensen_shannon import JensenShannon
from laconic.distill.knob import Knob, Rule
from laconic.distill.labels import Labels
from laconic.distill.lesson import DistillationLoss, Lesson, label_loss
from laconic.distill.logarithmic_features import LogarithmicFeatures
from laconic.distill.match import Match
from laconic.distill.matched import Matched
from laconic.distill.neuron_selectivity import NeuronSelectivity
from laconic.distill.noisy_teacher import NoisyTeacher
from laconic.distill.on_plateau import OnPlateau
from laconic.distill.pair import Pair
from laconic.distill.pairing import pair_layers
from laconic.distill.path_balance import PathBalance
from laconic.distill.position_affinity import PositionAffinity
from laconic.distill.prime_aware import PrimeAware
from laconic.distill.probabilistic_transfer import ProbabilisticTransfer
from laconic.distill.probability_shift import ProbabilityShift
from laconic.distill.ramp import Ramp
from laconic.distill.reading import reading
from laconic.distill.relational_angle import RelationalAngle
from laconic.distill.relational_distance import RelationalDistance
from laconic.distill.review import Review
from laconic.distill.same_features import SameFeatures
from laconic.distill.same_logits import SameLogits
from laconic.distill.sampled import Sampled
from laconic.distill.similarity_preserving import SimilarityPreserving
from laconic.distill.site import Site, overhear
from laconic.distill.soft_labels import SoftLabels
from laconic.distill.soft_tree import Explanation, SoftTree
from laconic.distill.squared_error import SquaredError
from laconic.distill.standardised_soft_labels import StandardisedSoftLabels
from laconic.distill.student import student
from laconic.distill.sum import Sum, Weighted
from laconic.distill.taking import taking
from laconic.distill.top_soft_labels import TopSoftLabels
from laconic.distill.tree_picture import draw_tree
from laconic.distill.universal_logits import UniversalLogits
from laconic.distill.value_relations import ValueRelations
from laconic.distill.variational import Variational
from laconic.distill.virtual_teacher import VirtualTeacher

ANSWERS: tuple[type[DistillationLoss], ...] = (
    SoftLabels,
    SquaredError,
    SameLogits,
    Decoupled,
    Dist,
    StandardisedSoftLabels,
    BinarySoftLabels,
    TopSoftLabels,
    JensenShannon,
    UniversalLogits,
)
FEATURES: tuple[type[FeatureLoss | LearnedLoss], ...] = (
    SameFeatures,
    AttentionTransfer,
    Gram,
    Flow,
    NeuronSelectivity,
    SimilarityPreserving,
    RelationalDistance,
    RelationalAngle,
    CorrelationCongruence,
    ProbabilisticTransfer,
    Variational,
    CosineFeatures,
    Contrastive,
    ContrastiveMemory,
    HierarchicalContext,
    Review,
    AttendedLayers,
    ChannelDistributions,
    PositionAffinity,
    ActivationBoundaries,
    LogarithmicFeatures,
    ChannelCorrelation,
    PrimeAware,
    FactorTransfer,
    ValueRelations,
    AttentionMaps,
)
ALL = (*ANSWERS, *FEATURES)

__all__ = [
    "ALL",
    "ANSWERS",
    "FEATURES",
    "ActivationBoundaries",
    "Answers",
    "AttendedLayers",
    "AttentionMaps",
    "AttentionTransfer",
    "Beams",
    "BinarySoftLabels",
    "BoundedRegression",
    "ByGap",
    "ChannelCorrelation",
    "ChannelDistributions",
    "ClassConsistency",
    "ConfidenceTemperature",
    "Contrastive",
    "ContrastiveMemory",
    "CorrelationCongruence",
    "CosineFeatures",
    "Decoding",
    "Decoupled",
    "Dist",
    "DistillationLoss",
    "EachHead",
    "EachTeacher",
    "Ensemble",
    "Explanation",
    "FactorTransfer",
    "FeatureLoss",
    "Flow",
    "FocalTemperature",
    "Generated",
    "Gram",
    "HierarchicalContext",
    "JensenShannon",
    "Knob",
    "Labels",
    "LearnedLoss",
    "Lesson",
    "LogarithmicFeatures",
    "Match",
    "Matched",
    "NeuronSelectivity",
    "NoisyTeacher",
    "OnPlateau",
    "Pair",
    "PathBalance",
    "PositionAffinity",
    "PrimeAware",
    "ProbabilisticTransfer",
    "ProbabilityShift",
    "Ramp",
    "RelationalAngle",
    "RelationalDistance",
    "Review",
    "Rule",
    "SameFeatures",
    "SameLogits",
    "Sampled",
    "SimilarityPreserving",
    "Site",
    "SoftLabels",
    "SoftTree",
    "SquaredError",
    "StandardisedSoftLabels",
    "Sum",
    "Tabular",
    "TopSoftLabels",
    "UniversalLogits",
    "ValueRelations",
    "Variational",
    "VirtualTeacher",
    "Weighted",
    "answers",
    "continued",
    "dictation",
    "draw_tree",
    "fitted_weights",
    "into_sklearn",
    "label_loss",
    "opening",
    "overhear",
    "pair_layers",
    "reading",
    "student",
    "taking",
]
