"""One pass over data: second moments of every weight's inputs and output gradients, ranges of activations."""

from laconic.calibrate.activations import input_channels
from laconic.calibrate.channel_histograms import ChannelHistograms
from laconic.calibrate.encoder import Encoder
from laconic.calibrate.evidence import Evidence, LayerEvidence
from laconic.calibrate.gather import calibrate
from laconic.calibrate.histogram import Histogram
from laconic.calibrate.layer import Layer, layers
from laconic.calibrate.reached import reached, reached_of

__all__ = [
    "ChannelHistograms",
    "Encoder",
    "Evidence",
    "Histogram",
    "Layer",
    "LayerEvidence",
    "calibrate",
    "input_channels",
    "layers",
    "reached",
    "reached_of",
]
