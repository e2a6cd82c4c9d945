"""What was priced before a run was killed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, final

from laconic.core.files import read_json, write_json
from laconic.pipeline.proposal import Proposal
from laconic.pipeline.routes import Route

LEDGER = "ledger.json"


@final
class Ledger:
    """Ways by the names of their proposals, and how far cuts alone are from the original; kept in a file at once.

    Args:
        folder: where the file lies; None: nowhere.

    Raises:
        ArtifactError: the file cannot be read.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._place = None if folder is None else folder / LEDGER
        there = self._place is not None and self._place.exists()
        self._held: dict[str, dict[str, Any]] = read_json(self._place) if self._place and there else {}
        self._held.setdefault("routes", {})
        self._held.setdefault("cuts", {})
        self._held.setdefault("left out", {})

    def once(self, proposal: Proposal, make: Callable[[], Route]) -> Route:
        """Returns a way, priced by `make` unless it is known."""
        if proposal.name not in self._held["routes"]:
            self._held["routes"][proposal.name] = make().config()
            self._write()
        return Route.of(self._held["routes"][proposal.name])

    def finish(self, cut: Proposal, routes: Sequence[Route], nats: float) -> None:
        """Notes that nothing is left to price with a cut, and how far it is from the original; infinity: unknown."""
        known = nats if math.isfinite(nats) else None
        self._held["cuts"][cut.name] = {"nats": known, "routes": [route.config() for route in routes]}
        self._write()

    def routes(self, cut: Proposal) -> list[Route] | None:
        """Returns all ways with a cut; None if some may be missing."""
        found = self._held["cuts"].get(cut.name)
        return None if found is None else [Route.of(content) for content in found["routes"]]

    def nats(self, cut: Proposal) -> float:
        """Returns how far a finished cut is from the original."""
        found = self._held["cuts"][cut.name]["nats"]
        return math.inf if found is None else float(found)

    def leave_out(self, what: str, why: str) -> None:
        """Notes what is no way at all, and why; what was noted of it before is forgotten."""
        self._held["left out"][what] = why
        self._write()

    @property
    def left_out(self) -> dict[str, str]:
        """What is no way at all, and why."""
        return dict(self._held["left out"])

    def _write(self) -> None:
        if self._place is not None:
            write_json(self._place, self._held)
