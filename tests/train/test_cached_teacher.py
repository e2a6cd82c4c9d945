import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from laconic import distill
from laconic.core.errors import ArtifactError, DataError, UsageError
from laconic.core.task import Task
from laconic.distill import SameLogits, SoftLabels
from laconic.train import SGD, Training, cached_teacher
from train.training_samples import data, plain_network, same_weights, task_of

X = torch.randn(30, 6, generator=torch.Generator().manual_seed(5))


class Counted(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model, self.calls = model, 0

    def forward(self, x):
        self.calls += 1
        return self.model(x)


def loader(batch_size, shuffle=False):
    return DataLoader(TensorDataset(X, torch.zeros(30, dtype=torch.long)), batch_size=batch_size, shuffle=shuffle)


def task(batch_size=8, shuffle=False):
    return Task(train=loader(batch_size, shuffle), evaluate=loader(batch_size))


def test_answers_are_the_teacher_s_in_any_order_and_any_batch(tmp_path):
    teacher = plain_network(1)
    cached = cached_teacher(teacher, task(), tmp_path / "cache", precision="float32")
    for rows in ([3, 29, 0], [7], list(range(30))):
        with torch.no_grad():
            torch.testing.assert_close(cached(X[rows]), teacher(X[rows]))


def test_the_teacher_is_asked_once_and_never_again(tmp_path):
    teacher = Counted(plain_network(1)).train()
    cached_teacher(teacher, task(), tmp_path / "cache")
    assert teacher.calls == 4 and teacher.training
    cached = cached_teacher(teacher, task(5, shuffle=True), tmp_path / "cache")
    distill(cached, plain_network(2), task(5, shuffle=True), training=Training(epochs=2))
    assert teacher.calls == 4


def test_a_student_taught_from_disk_becomes_what_it_becomes_without(tmp_path):
    def taught(teacher):
        training = Training(epochs=2, optimizer=SGD(learning_rate=0.1))
        return distill(teacher, plain_network(2), task(7, shuffle=True), loss=SameLogits(), training=training)

    cached = cached_teacher(plain_network(1), task(), tmp_path / "cache", precision="float32")
    one, other = taught(cached), taught(plain_network(1))
    for ours, theirs in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_half_precision_takes_half_and_top_classes_less(tmp_path):
    torch.manual_seed(0)
    teacher = nn.Linear(6, 100)
    whole = cached_teacher(teacher, task(), tmp_path / "whole", precision="float32")
    half = cached_teacher(teacher, task(), tmp_path / "half")
    few = cached_teacher(teacher, task(), tmp_path / "few", top=5)
    assert [c.size_bytes for c in (whole, half, few)] == [30 * 100 * 4, 30 * 100 * 2, 30 * (6 * 2 + 5 * 4)]
    with torch.no_grad():
        exact = teacher(X).softmax(-1)
        torch.testing.assert_close(half(X).softmax(-1), exact, rtol=5e-3, atol=1e-4)
        kept = few(X).softmax(-1)
    top = exact.topk(5)
    torch.testing.assert_close(kept.gather(1, top.indices), top.values, rtol=5e-3, atol=1e-4)
    rest = kept.scatter(1, top.indices, 0).sum(1)
    torch.testing.assert_close(rest, 1 - top.values.sum(1), rtol=5e-3, atol=1e-3)


def test_padding_to_another_length_changes_no_sample(tmp_path):
    class Mean(nn.Module):
        def forward(self, input_ids, attention_mask):
            total = (input_ids * attention_mask).sum(1, keepdim=True) / attention_mask.sum(1, keepdim=True)
            return torch.cat([total, -total], 1)

    short = {"input_ids": torch.tensor([[4, 5]]), "attention_mask": torch.tensor([[1, 1]])}
    padded = {"input_ids": torch.tensor([[4, 5, 0]]), "attention_mask": torch.tensor([[1, 1, 0]])}
    cached = cached_teacher(Mean(), Task(train=[short], evaluate=[short]), tmp_path / "cache")
    assert cached(**padded).tolist() == [[4.5, -4.5]]
    with pytest.raises(DataError, match="no answer for 1 of 1"):
        cached(input_ids=padded["input_ids"], attention_mask=torch.ones(1, 3))


def test_another_teacher_other_data_and_another_form_are_refused(tmp_path):
    folder = tmp_path / "cache"
    cached = cached_teacher(plain_network(1), task(), folder)
    with pytest.raises(ArtifactError, match="a cache of another teacher"):
        cached_teacher(plain_network(3), task(), folder)
    with pytest.raises(ArtifactError, match="a cache of another precision: it was float16, now it is float32"):
        cached_teacher(plain_network(1), task(), folder, precision="float32")
    with pytest.raises(DataError, match="has no answer for 8 of 8 samples, the first at place 0"):
        cached_teacher(plain_network(1), task_of(data()), folder)
    with pytest.raises(DataError, match="has no answer for 1 of 2 samples, the first at place 1"):
        cached(torch.stack([X[0], X[1] + 1]))


def test_a_cache_is_whole_or_not_there(tmp_path):
    class Breaks(nn.Linear):
        def forward(self, x):
            if len(x) < 8:
                raise ZeroDivisionError
            return super().forward(x)

    with pytest.raises(ZeroDivisionError):
        cached_teacher(Breaks(6, 3), task(), tmp_path / "cache")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", ["answers.bin", "samples.npy", "cache.json"])
def test_a_damaged_cache_is_refused(tmp_path, file):
    cached_teacher(plain_network(1), task(), tmp_path / "cache")
    path = tmp_path / "cache" / file
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ArtifactError, match="damaged"):
        cached_teacher(plain_network(1), task(), tmp_path / "cache")


def test_answers_of_changing_shape_and_wrong_arguments_are_refused(tmp_path):
    ids = [torch.zeros(2, 3, dtype=torch.long), torch.zeros(2, 4, dtype=torch.long)]
    with pytest.raises(DataError, match="one shape for all samples"):
        cached_teacher(nn.Embedding(2, 5), Task(train=ids, evaluate=ids), tmp_path / "cache")
    with pytest.raises(UsageError, match=r"top: got 0"):
        cached_teacher(plain_network(1), task(), tmp_path / "cache", top=0)
    with pytest.raises(UsageError, match=r"precision: got 'int8'"):
        cached_teacher(plain_network(1), task(), tmp_path / "cache", precision="int8")


def test_samples_that_occur_twice_are_kept_once(tmp_path):
    twice = [torch.cat([X[:5], X[:5]])]
    cached = cached_teacher(plain_network(1), Task(train=twice, evaluate=twice), tmp_path / "cache")
    assert cached.size_bytes == 5 * 3 * 2
    student = distill(cached, plain_network(2), Task(train=twice, evaluate=twice), loss=SoftLabels(class_axis=1))
    assert not same_weights(student, plain_network(2))
