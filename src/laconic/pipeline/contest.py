"""A student is not judged by what it is before it has learnt: it and its rival learn for a while, and one goes on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from laconic.core.files import read_json, write_json
from laconic.core.state import load_state
from laconic.pipeline.attempt import begun, taught
from laconic.pipeline.choice import should_be_quick
from laconic.pipeline.job import Job
from laconic.pipeline.proposal import Proposal
from laconic.pipeline.routes import Route, Wanted
from laconic.pipeline.survey import Survey
from laconic.pipeline.workspace import Workspace

TRIAL = 0.2
"""Share of an attempt's steps that each of the two learns for; after 0.05, seven steps of digits, chance decided."""
NATS = "nats.json"


def rival_of(chosen: Proposal, wanted: Wanted, routes: Sequence[Route], tried: Collection[Proposal]) -> Route | None:
    """Returns the best student that should meet the budget too, for a student the best of all others.

    Args:
        chosen: what looks best without training.
        wanted: what the budget asks for.
        routes: all ways.
        tried: what was carried out.

    Returns:
        None where there is none, or nothing was made smaller in what was chosen.
    """
    rivals = [
        route
        for route in routes
        if route.proposal.keep < 1
        and (route.proposal.cut == "student") != (chosen.cut == "student")
        and route.proposal not in tried
        and route.nats is not None
        and wanted.allows(route)
        and should_be_quick(route, wanted, routes, [])
    ]
    if chosen.keep == 1 or not rivals:
        return None
    return min(rivals, key=lambda route: (route.proposal.activations != chosen.activations, route.nats or 0.0))


@dataclass(eq=False)
class Contest:
    """Lets what was chosen and its rival learn, once for each pair.

    Args:
        job: with or without a recovery.
        workspace: of its stages.
        known: what the choice rests on.
    """

    job: Job
    workspace: Workspace
    known: Survey
    verdicts: dict[Proposal, str] = field(default_factory=dict)

    def settled(self, chosen: Proposal, tried: Collection[Proposal]) -> Proposal:
        """Returns what is nearer to the original after it has learnt for a while: what was chosen, or a student.

        Args:
            chosen: by what is known without training.
            tried: what has been carried out.
        """
        rival = rival_of(chosen, self.known.wanted, self.known.routes, tried) if self.job.recovers else None
        if rival is None:
            return chosen
        nats = {one: self._nats(one) for one in (chosen, rival.proposal)}
        nearest = min(nats, key=lambda one: nats[one])
        for one, found in nats.items():
            other = next(value for proposal, value in nats.items() if proposal != one)
            self.verdicts[one] = f"{found:.2g} nats after a trial of {TRIAL:.0%} of the training, the other {other:.2g}"
        self.job.progress.say(
            f"learnt for a while: {chosen}, {nats[chosen]:.2g} nats; {rival.proposal}, {nats[rival.proposal]:.2g} nats"
        )
        return nearest

    def _nats(self, proposal: Proposal) -> float:
        start = begun(self.job, proposal, self.workspace, self.known.bases, self.known.original)
        folder = self.workspace.stage(f"{proposal.name}/trial", partial(self._learn, start))
        return float(read_json(folder / NATS))

    def _learn(self, start: Path, folder: Path) -> None:
        _, plan = load_state(start, self.job.model)
        network, _ = taught(self.job, plan, folder, share=TRIAL)
        write_json(folder / NATS, self.known.bases.yardstick.nats(network))
