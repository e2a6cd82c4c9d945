import pytest
import torch

from laconic.core.pursuit import PIECE, pursue


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow(vector, atoms, nonzeros):
    """Matching pursuit as it is told: the most alike by the cosine, then least squares over all chosen."""
    chosen, left = [], vector
    for _ in range(nonzeros):
        alike = (atoms @ left).abs() / atoms.norm(dim=1)
        alike[chosen] = -1
        chosen.append(int(alike.argmax()))
        amounts = torch.linalg.lstsq(atoms[chosen].T, vector[:, None]).solution[:, 0]
        left = vector - amounts @ atoms[chosen]
    return chosen, amounts


def test_each_vector_takes_the_atoms_of_the_slow_version():
    atoms, vectors = random(12, 7) * torch.arange(1, 13)[:, None], random(40, 7, seed=1)
    codes, amounts = pursue(vectors, atoms, 3)
    for vector, mine, much in zip(vectors, codes, amounts, strict=True):
        expected, right = slow(vector, atoms, 3)
        assert mine.tolist() == expected
        assert torch.allclose(much, right, rtol=1e-6, atol=1e-8)


def test_a_hand_worked_combination_is_found():
    atoms = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.6, 0.0, 0.8]])
    codes, amounts = pursue(torch.tensor([[0.0, 6.0, 0.5]]), atoms, 2)
    assert codes.tolist() == [[1, 2]]
    assert torch.allclose(amounts, torch.tensor([[3.0, 0.4]], dtype=torch.float64))


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_atoms_that_are_alike_or_zero_and_vectors_of_any_size_give_finite_amounts(size):
    atoms = torch.cat((random(2, 4), random(2, 4), torch.zeros(1, 4)))
    vectors = torch.cat((random(3, 4, seed=1) * size, torch.zeros(1, 4)))
    codes, amounts = pursue(vectors, atoms, 5)
    assert codes.sort(1).values.tolist() == [[0, 1, 2, 3, 4]] * 4
    assert amounts.isfinite().all()
    left = vectors - torch.einsum("vk,vkl->vl", amounts, atoms[codes])
    assert (left.norm(dim=1) <= vectors.norm(dim=1) * (1 + 1e-9)).all()


def test_vectors_are_independent_of_each_other():
    atoms, vectors = random(4, 3), random(PIECE + 2, 3, seed=1)
    codes, _ = pursue(vectors, atoms, 2)
    assert torch.equal(codes[-2:], pursue(vectors[-2:], atoms, 2)[0])
