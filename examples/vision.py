"""Handwritten digits and a convolutional network: the demo in a few lines."""

import laconic
from laconic.demo import digits, trained_network


def main() -> laconic.Result:
    """Trains, compresses, reports."""
    task = digits()
    model = trained_network(task)
    return laconic.compress(model, task, laconic.Budget(size=0.25, drop=0.01))


if __name__ == "__main__":
    result = main()
    print(result.report.original.score, result.report.compressed.score, result.plan, sep="\n")
