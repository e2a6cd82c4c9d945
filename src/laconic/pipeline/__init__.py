"""The main job, from a trained network to a checked artifact, in stages that a killed run keeps."""

from laconic.pipeline.advise import advise
from laconic.pipeline.compress import compress
from laconic.pipeline.job import Recovery
from laconic.pipeline.progress import Progress
from laconic.pipeline.result import Result

__all__ = ["Progress", "Recovery", "Result", "advise", "compress"]
