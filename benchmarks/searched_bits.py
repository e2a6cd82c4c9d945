"""Bits of each layer of ResNet-20 at 1/12 of its size: exactly, by TPE, by reinforcement, at random.

8, 6, 5, 4, 3 or 2 bits, or float. Nats are those that the price list predicts, so nothing but the choice differs; no
network is run after the price list is made. Every search judges the same number of choices, each made to fit by the
same rule; seeds are of the search.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

import laconic
import manner
import networks
from laconic.core.budget import Budget
from laconic.select import allocate, price
from laconic.select.menu import GRIDS
from laconic.select.reinforcement import Reinforcement
from laconic.select.search import Strategy
from laconic.select.searched import searched
from laconic.select.strategies import AtRandom, TreeParzen

EVIDENCE, MEASURED, MEASURES, TRIALS, SIZE = 256, 64, 16, 400, 1 / 12
STRATEGIES: dict[str, Callable[[int], Strategy]] = {
    "tpe": lambda seed: TreeParzen(seed=seed),
    "reinforcement": lambda seed: Reinforcement(seed=seed),
    "random": lambda seed: AtRandom(seed=seed),
}


def main() -> None:
    """Runs the rows."""
    given = manner.options(__doc__ or "", list(STRATEGIES), seeds=3)
    torch.set_num_threads(1)
    model = networks.cifar_resnet(20)
    task = networks.cifar_task(EVIDENCE + MEASURED, seed=0)
    evidence = laconic.calibrate(model, task, samples=EVIDENCE, activations=False)
    prices = price(model, task, techniques=GRIDS, evidence=evidence, samples=MEASURED, measure=MEASURES)
    budget = Budget(size=SIZE)
    start = time.process_time()
    exact = allocate(prices, budget)
    results: dict[str, Any] = {"allocate": {"nats": exact.nats, "seconds": round(time.process_time() - start, 2)}}
    manner.line("strategy", "seed", "nats", "over exact", "at 100", "seconds")
    manner.line("allocate", "-", f"{exact.nats:.5f}", "1.00", "-", results["allocate"]["seconds"])
    for name in given.rows:
        cells = results.setdefault(name, [])
        for seed in given.seeds:
            start = time.process_time()
            found = searched(prices, budget, STRATEGIES[name](seed), trials=TRIALS)
            seconds = round(time.process_time() - start, 1)
            over = {count: round(found[count - 1].nats / exact.nats, 2) for count in (100, TRIALS)}
            manner.line(name, seed, f"{found[-1].nats:.5f}", over[TRIALS], over[100], seconds)
            cells.append({"nats": found[-1].nats, "over_exact": over[TRIALS], "at_100": over[100], "seconds": seconds})
    manner.finish(results | {"offers": len(prices.offers), "trials": TRIALS})


if __name__ == "__main__":
    main()
