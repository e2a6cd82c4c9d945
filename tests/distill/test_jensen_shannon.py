import math

import pytest
import torch
from distill_samples import kl, mean_over_rows, randn, softmax, terms
from hypothesis import given
from hypothesis import strategies as st

from laconic.core.errors import UsageError
from laconic.distill import JensenShannon, SoftLabels


def test_a_hand_worked_value():
    # p = (3/4, 1/4), q = (1/4, 3/4), m = (1/2, 1/2): both divergences are 3/4 log(3/2) + 1/4 log(1/2).
    found = terms(JensenShannon(), [[0.0, math.log(3)]], [[math.log(3), 0.0]])
    assert found["divergence"] == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), abs=1e-6)


@given(beta=st.floats(0.01, 0.99), temperature=st.floats(0.5, 4), seed=st.integers(0, 10**6))
def test_the_loss_is_the_reference_s(beta, temperature, seed):
    student, teacher = randn(4, 5, seed=seed), randn(4, 5, seed=seed + 1)

    def reference(s, t):
        p, q = softmax(t, temperature), softmax(s, temperature)
        mixed = [beta * a + (1 - beta) * b for a, b in zip(p, q, strict=True)]
        return beta * kl(p, mixed) + (1 - beta) * kl(q, mixed)

    expected = temperature**2 * mean_over_rows(reference, student, teacher)
    found = terms(JensenShannon(beta=beta, temperature=temperature), student, teacher)["divergence"]
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_zero_is_the_forward_divergence_and_one_the_reverse():
    student, teacher = randn(4, 5), randn(4, 5, seed=1)
    forward = terms(SoftLabels(temperature=1), student, teacher)["soft labels"]
    assert terms(JensenShannon(beta=0), student, teacher)["divergence"] == pytest.approx(forward)
    backward = terms(SoftLabels(temperature=1), teacher, student)["soft labels"]
    assert terms(JensenShannon(beta=1), student, teacher)["divergence"] == pytest.approx(backward)


def test_the_ends_are_the_limits_of_the_divergence_over_beta():
    student, teacher = randn(4, 5, scale=1.0).double(), randn(4, 5, seed=1, scale=1.0).double()
    near = terms(JensenShannon(beta=1e-4), student, teacher)["divergence"] / 1e-4
    assert near == pytest.approx(terms(JensenShannon(beta=0), student, teacher)["divergence"], rel=1e-2)


def test_it_is_at_most_log_two_however_different_the_two_are():
    far = terms(JensenShannon(beta=0.5), [[1e3, 0.0]], [[0.0, 1e3]])["divergence"]
    assert far == pytest.approx(math.log(2))


def test_reverse_keeps_the_student_to_one_of_the_teacher_s_modes():
    # The teacher has two modes; a student that takes one of them is nearer in reverse than one that spreads.
    teacher = torch.tensor([[5.0, 0.0, 5.0]])
    one, spread = torch.tensor([[8.0, 0.0, 0.0]]), torch.zeros(1, 3)
    reverse, forward = JensenShannon(beta=1), JensenShannon(beta=0)
    assert terms(reverse, one, teacher)["divergence"] < terms(reverse, spread, teacher)["divergence"] + 0.5
    assert terms(forward, one, teacher)["divergence"] > terms(forward, spread, teacher)["divergence"]


def test_beta_outside_its_domain_is_refused():
    with pytest.raises(UsageError, match=r"JensenShannon\.beta: got 1\.5"):
        JensenShannon(beta=1.5)
