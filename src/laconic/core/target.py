"""Where the compressed model will run."""

from __future__ import annotations

from dataclasses import dataclass

from laconic.core.errors import check_whole, invalid

RUNTIMES = ("onnxruntime",)


@dataclass(frozen=True, kw_only=True)
class Target:
    """A runtime and how it is used.

    Args:
        runtime: `"onnxruntime"`.
        threads: threads of one inference; latency budgets are judged at this number.
        batch_size: samples of one inference.

    Example:
        >>> Target.parse("onnxruntime:threads=2")
        Target(runtime='onnxruntime', threads=2, batch_size=1)
    """

    runtime: str = "onnxruntime"
    threads: int = 1
    batch_size: int = 1

    def __post_init__(self) -> None:
        if self.runtime not in RUNTIMES:
            raise invalid("Target.runtime", self.runtime, f"one of {', '.join(RUNTIMES)}")
        for name in ("threads", "batch_size"):
            check_whole(f"Target.{name}", getattr(self, name), 1)

    @classmethod
    def parse(cls, text: str | Target) -> Target:
        """Reads `"runtime"` or `"runtime:threads=2,batch_size=8"`."""
        if isinstance(text, Target):
            return text
        runtime, _, settings = text.partition(":")
        numbers = {}
        for setting in filter(None, settings.split(",")):
            name, _, value = setting.partition("=")
            if name not in ("threads", "batch_size") or not value.isdecimal():
                raise invalid("Target", text, "runtime:threads=N,batch_size=N")
            numbers[name] = int(value)
        return cls(runtime=runtime, **numbers)

    def __str__(self) -> str:
        return f"{self.runtime}, {self.threads} thread{'s' * (self.threads > 1)}, batch {self.batch_size}"
