import itertools

import pytest
import torch
from language import Bigram, counting, random_bigram

from laconic.core.errors import ModelError, UsageError
from laconic.core.task import Batch, Task
from laconic.distill import Beams, Generated, Sampled

TASK = Task(evaluate=[torch.zeros(1, 1, dtype=torch.long)])


def prompt(*rows):
    return Batch(args=(torch.tensor(rows),))


def log_probability(model, row, start, end):
    found = 0.0
    for last, token in itertools.pairwise(row[start - 1 :]):
        found += model.table[last].log_softmax(-1)[token].item()
        if token == end:
            break
    return found


@pytest.mark.parametrize("decoding", [Sampled(length=3, temperature=0), Beams(length=3, beams=1)])
def test_one_beam_and_temperature_zero_take_the_likeliest_token_each_time(decoding):
    found = decoding(counting(), prompt([0, 1], [2, 3]), TASK)
    assert found.tolist() == [[0, 1, 2, 3, 4], [2, 3, 4, 0, 1]]


@pytest.mark.parametrize("decoding", [Sampled(length=5, temperature=0, end=3), Beams(length=5, end=3)])
def test_a_sequence_that_is_over_is_filled_up_and_all_stop_when_the_last_is(decoding):
    found = decoding(counting(), prompt([0, 1], [1, 2]), TASK)
    assert found.tolist() == [[0, 1, 2, 3], [1, 2, 3, 3]]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("end", [None, 2])
def test_with_enough_beams_no_sequence_is_likelier(seed, end):
    model = random_bigram(4, seed)
    found = Beams(length=3, beams=16, end=end)(model, prompt([1], [3]), TASK).tolist()
    for row in found:
        every = ([row[0], *rest] for rest in itertools.product(range(4), repeat=3))
        best = max(log_probability(model, other, 1, end) for other in every)
        assert log_probability(model, row, 1, end) == pytest.approx(best, abs=1e-5)


def test_a_beam_finds_what_the_likeliest_first_token_hides():
    # From 0: 1 with 0.6, 2 with 0.4; after 1 all is even (0.25), after 2 comes 3 for certain.
    table = torch.full((4, 4), -30.0)
    table[0, 1], table[0, 2] = torch.tensor([0.6, 0.4]).log()
    table[1], table[2, 3] = 0.0, 0.0
    assert Beams(length=2, beams=1)(Bigram(table), prompt([0]), TASK)[0, 1] == 1
    assert Beams(length=2, beams=2)(Bigram(table), prompt([0]), TASK).tolist() == [[0, 2, 3]]


def test_a_length_penalty_favours_what_is_longer():
    # 0 ends (3) at once with 0.5, or goes to 1 with 0.5 and from there to the end with 0.9.
    table = torch.full((4, 4), -30.0)
    table[0, 3], table[0, 1], table[1, 3], table[1, 2] = torch.tensor([0.5, 0.5, 0.9, 0.1]).log()
    assert Beams(length=2, beams=4, end=3)(Bigram(table), prompt([0]), TASK).tolist() == [[0, 3]]
    longer = Beams(length=2, beams=4, end=3, length_penalty=1.0)
    assert longer(Bigram(table), prompt([0]), TASK).tolist() == [[0, 1, 3]]


def test_samples_are_as_frequent_as_they_are_likely():
    table = torch.tensor([[0.0, 1.0, 2.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    torch.manual_seed(0)
    found = Sampled(length=1, temperature=2.0)(Bigram(table), prompt(*[[0]] * 20_000), TASK)[:, 1]
    shares = torch.bincount(found, minlength=3) / 20_000
    torch.testing.assert_close(shares, (table[0] / 2).softmax(-1), atol=0.02, rtol=0)


def test_prompts_padded_on_the_left_keep_their_mask():
    class Counted(Bigram):
        def forward(self, input_ids, attention_mask):
            seen.append((input_ids.shape, attention_mask.tolist()))
            return super().forward(input_ids)

    seen = []
    batch = Batch(kwargs={"input_ids": torch.tensor([[0, 1]]), "attention_mask": torch.tensor([[0, 1]])})
    Beams(length=2, beams=2)(Counted(counting().table.detach()), batch, TASK)
    assert [mask for _, mask in seen] == [[[0, 1]], [[0, 1, 1], [0, 1, 1]]]


def test_a_model_that_generates_is_asked_with_its_own_options():
    class Writer(Bigram):
        def generate(self, input_ids, *, max_new_tokens):
            return torch.cat([input_ids, input_ids.new_full((len(input_ids), max_new_tokens), 7)], dim=1)

    batch = Batch(kwargs={"input_ids": torch.tensor([[1, 2]])})
    found = Generated(options={"max_new_tokens": 2}, end=0)(Writer(torch.zeros(1, 1)), batch, TASK)
    assert found.tolist() == [[1, 2, 7, 7]]
    with pytest.raises(ModelError, match="has no method generate"):
        Generated()(counting(), batch, TASK)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [(Sampled, {"length": 0}), (Sampled, {"temperature": -1}), (Beams, {"beams": 0}), (Beams, {"length": 1.5})],
)
def test_values_outside_their_domain_are_refused(kind, wrong):
    with pytest.raises(UsageError, match=f"{kind.__name__}.{next(iter(wrong))}: got"):
        kind(**wrong)
