from typing import Any

import pytest
import torch
from distill_samples import randn
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from laconic.core.errors import DataError, UsageError
from laconic.distill import SoftTree


def hand_made(right: list[float], leaves: list[float], **options: Any) -> SoftTree:
    """Two classes; for input 1 node i goes right with probability right[i], and leaf l gives class 0 leaves[l]."""
    tree = SoftTree(inputs=1, classes=2, depth=len(leaves).bit_length() - 1, **options).double()
    first = torch.tensor(leaves, dtype=torch.float64)
    with torch.no_grad():
        tree.gates.filters.weight.copy_(torch.tensor(right, dtype=torch.float64).logit()[:, None])
        tree.gates.filters.bias.zero_()
        tree.leaves.logits.copy_(torch.stack([first, 1 - first], dim=1).log())
    return tree


ONE = torch.ones(1, 1, dtype=torch.float64)


def by_recursion(tree: SoftTree, x: Tensor, node: int = 0) -> Tensor:
    """The class probabilities of one sample, by walking the tree."""
    inner = 2**tree.depth - 1
    if node >= inner:
        return tree.leaves.logits[node - inner].softmax(-1)
    filters = tree.gates.filters
    right = 1 / (1 + torch.exp(-tree.gates.inverse_temperature * (x @ filters.weight[node] + filters.bias[node])))
    return (1 - right) * by_recursion(tree, x, 2 * node + 1) + right * by_recursion(tree, x, 2 * node + 2)


def test_a_hand_worked_tree_of_depth_one() -> None:
    found = hand_made([0.75], [0.9, 0.2])(ONE).exp()
    torch.testing.assert_close(found, torch.tensor([[0.375, 0.625]], dtype=torch.float64))  # 0.25 * 0.9 + 0.75 * 0.2


def test_a_hand_worked_tree_of_depth_two() -> None:
    tree = hand_made([0.75, 0.5, 0.2], [0.1, 0.5, 0.9, 0.2])
    torch.testing.assert_close(tree.paths(ONE), torch.tensor([[0.125, 0.125, 0.6, 0.15]], dtype=torch.float64))
    torch.testing.assert_close(tree(ONE).exp()[0, 0].item(), 0.645)  # 0.0125 + 0.0625 + 0.54 + 0.03


def test_the_greatest_path_answers_alone_in_eval_mode() -> None:
    tree = hand_made([0.75, 0.5, 0.2], [0.1, 0.5, 0.9, 0.2], answer="greatest path")
    torch.testing.assert_close(tree.train()(ONE).exp()[0, 0].item(), 0.645)
    torch.testing.assert_close(tree.eval()(ONE).exp()[0, 0].item(), 0.9)


def test_the_greatest_path_need_not_take_the_likelier_side_at_the_root() -> None:
    tree = hand_made([0.55, 0.01, 0.5], [0.1, 0.2, 0.3, 0.4])
    (found,) = tree.explain(ONE)
    assert (found.leaf, found.turns) == (0, (False, False))  # 0.45 * 0.99 against 0.55 * 0.5.


def test_an_explanation_names_nodes_turns_and_leaf() -> None:
    tree = hand_made([0.75, 0.5, 0.2], [0.1, 0.5, 0.9, 0.2])
    (found,) = tree.explain(ONE)
    assert (found.nodes, found.turns, found.leaf) == ((0, 2), (True, False), 2)
    assert found.right == pytest.approx((0.75, 0.2))
    assert found.probability == pytest.approx(0.6)
    assert found.distribution == pytest.approx((0.9, 0.1))


@given(depth=st.integers(1, 6), seed=st.integers(0, 10**6), scale=st.floats(0.01, 50))
def test_the_probabilities_of_all_paths_and_of_all_classes_sum_to_one(depth: int, seed: int, scale: float) -> None:
    tree, x = SoftTree(inputs=3, classes=4, depth=depth), randn(5, 3, seed=seed, scale=scale)
    torch.testing.assert_close(tree.paths(x).sum(-1), torch.ones(5))
    torch.testing.assert_close(tree(x).exp().sum(-1), torch.ones(5))


@pytest.mark.parametrize("depth", [1, 3, 5])
def test_the_answer_is_that_of_a_walk_from_the_root(depth: int) -> None:
    tree = SoftTree(inputs=6, classes=3, depth=depth, inverse_temperature=1.7).double()
    x = randn(4, 2, 3).double()
    expected = torch.stack([by_recursion(tree, row) for row in x.flatten(1)])
    torch.testing.assert_close(tree(x).exp(), expected)


def test_the_decisions_along_a_way_multiply_to_the_probability_of_its_path() -> None:
    tree, x = SoftTree(inputs=3, classes=2, depth=4).double(), randn(1, 3).double()
    right = tree.gates(x).sigmoid()[0]
    for leaf, expected in enumerate(tree.paths(x)[0]):
        sides = [right[node] if turn else 1 - right[node] for node, turn in tree.way(leaf)]
        torch.testing.assert_close(torch.stack(sides).prod(), expected)


def test_decisions_beyond_doubt_keep_answer_and_gradient_finite() -> None:
    tree = SoftTree(inputs=3, classes=2, depth=3, inverse_temperature=1e4)
    answer = tree(randn(4, 3))
    answer.sum().backward()
    assert answer.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in tree.parameters())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"depth": 0}, "SoftTree.depth: got 0"),
        ({"depth": 40}, "SoftTree.depth: got 40"),
        ({"classes": 1}, "SoftTree.classes: got 1"),
        ({"inputs": 0}, "SoftTree.inputs: got 0"),
        ({"inverse_temperature": 0.0}, "SoftTree.inverse_temperature: got 0.0"),
        ({"answer": "path"}, "SoftTree.answer: got 'path'"),
    ],
)
def test_arguments_outside_their_domain_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said.replace(".", r"\.")):
        SoftTree(**{"inputs": 4, "classes": 3, "depth": 2, **options})


@pytest.mark.parametrize("shape", [(4,), (2, 5), (2, 2, 3)])
def test_samples_of_another_size_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="with 4 numbers each"):
        SoftTree(inputs=4, classes=3, depth=2)(torch.zeros(shape))
