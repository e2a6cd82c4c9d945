import json
import threading

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from laconic import distill
from laconic.core.errors import ArtifactError, DataError, UsageError
from laconic.core.task import Task
from laconic.distill import SameLogits, SoftLabels
from laconic.distill.augment import MaskTokens, Mixup
from laconic.train import SGD, CachedTeacher, Repeated, Training, cache_bytes, cached_teacher
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
    assert not (tmp_path / "cache").exists()
    assert [path.name for path in tmp_path.iterdir()] in ([".cache.lock"], [])


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


@pytest.mark.parametrize("options", [{}, {"top": 2, "precision": "float32"}, {"encrypted": True}])
def test_the_size_is_known_before_anything_is_written(tmp_path, options, monkeypatch):
    monkeypatch.setenv("LACONIC_CACHE_KEY", "ab" * 32)
    torch.manual_seed(0)
    teacher = Counted(nn.Linear(6, 9))
    twice = [X[:8], X[4:12], X[:3]]
    given = Task(train=twice, evaluate=twice)
    known = cache_bytes(teacher, given, **options)
    assert teacher.calls == 1
    cached = cached_teacher(teacher, given, tmp_path / "cache", **options)
    assert known == cached.size_bytes == (tmp_path / "cache" / "answers.bin").stat().st_size
    assert known % 12 == 0


def test_of_several_who_start_at_once_one_writes_and_all_read(tmp_path):
    teacher, found, ready = Counted(plain_network(1)), [], threading.Barrier(3)

    def start():
        ready.wait()
        found.append(cached_teacher(teacher, task(), tmp_path / "cache"))

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert teacher.calls == 4
    assert len({tuple(cached(X[:2]).flatten().tolist()) for cached in found}) == 1 and len(found) == 3


def test_an_encrypted_cache_answers_as_a_plain_one_and_shows_neither_answers_nor_samples(tmp_path, monkeypatch):
    monkeypatch.setenv("LACONIC_CACHE_KEY", "ab" * 32)
    plain = cached_teacher(plain_network(1), task(), tmp_path / "plain")
    sealed = cached_teacher(plain_network(1), task(), tmp_path / "sealed", encrypted=True)
    again = cached_teacher(plain_network(1), task(5, shuffle=True), tmp_path / "sealed", encrypted=True)
    cached_teacher(plain_network(1), task(), tmp_path / "other", encrypted=True)
    rows = [3, 29, 0]
    assert plain(X[rows]).tolist() == sealed(X[rows]).tolist() == again(X[rows]).tolist()
    with pytest.raises(DataError, match="has no answer for 1 of 1"):
        sealed(X[:1] + 1)
    content = {
        folder: {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()}
        for folder in ("plain", "sealed", "other")
    }
    bare = content["plain"]["answers.bin"]
    for file in content["sealed"].values():
        assert not any(bare[i : i + 6] in file for i in range(0, len(bare), 6))
    # The same answers to the same samples, and no two files have a row or a name in common.
    names = [content[folder]["samples.npy"][-30 * 24 : -30 * 8] for folder in content]
    for one in range(3):
        for two in range(one):
            assert not {names[one][i : i + 8] for i in range(0, 480, 8)} & {
                names[two][i : i + 8] for i in range(0, 480, 8)
            }
    answers = [content[folder]["answers.bin"] for folder in ("sealed", "other")]
    assert not {answers[0][i : i + 22] for i in range(0, 660, 22)} & {answers[1][i : i + 22] for i in range(0, 660, 22)}


@pytest.mark.parametrize("key", [None, "", "ab" * 31, "xy" * 32])
def test_without_a_key_nothing_is_encrypted_and_nothing_is_lost(tmp_path, monkeypatch, key):
    monkeypatch.setenv("LACONIC_CACHE_KEY", "ab" * 32)
    folder = tmp_path / "cache"
    cached_teacher(plain_network(1), task(), folder, encrypted=True)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    if key is None:
        monkeypatch.delenv("LACONIC_CACHE_KEY")
    else:
        monkeypatch.setenv("LACONIC_CACHE_KEY", key)
    for place in (folder, tmp_path / "new"):
        with pytest.raises(UsageError, match=r"LACONIC_CACHE_KEY: got .*; expected 64 hexadecimal digits") as error:
            cached_teacher(plain_network(1), task(), place, encrypted=True)
        assert not key or key not in str(error.value)
    with pytest.raises(ArtifactError, match="another encryption: it was AES-256-GCM, now it is None"):
        cached_teacher(plain_network(1), task(), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert not (tmp_path / "new").exists()


def test_another_key_is_refused_and_the_right_one_still_opens(tmp_path, monkeypatch):
    monkeypatch.setenv("LACONIC_CACHE_KEY", "ab" * 32)
    cached = cached_teacher(plain_network(1), task(), tmp_path / "cache", encrypted=True)
    monkeypatch.setenv("LACONIC_CACHE_KEY", "cd" * 32)
    with pytest.raises(ArtifactError, match="was written with another key than LACONIC_CACHE_KEY holds"):
        CachedTeacher(tmp_path / "cache")
    monkeypatch.setenv("LACONIC_CACHE_KEY", "ab" * 32)
    assert CachedTeacher(tmp_path / "cache")(X[:2]).tolist() == cached(X[:2]).tolist()


def test_encrypted_rows_that_were_changed_or_moved_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("LACONIC_CACHE_KEY", "ab" * 32)
    cached_teacher(plain_network(1), task(), tmp_path / "cache", encrypted=True)
    path = tmp_path / "cache" / "answers.bin"
    content = path.read_bytes()
    for changed in (content[22:44] + content[:22] + content[44:], content[:5] + bytes([content[5] ^ 1]) + content[6:]):
        path.write_bytes(changed)
        with pytest.raises(ArtifactError, match="row 0 is not what was written"):
            CachedTeacher(tmp_path / "cache")(X[:1])
    manifest = tmp_path / "cache" / "cache.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "top": 3}))
    with pytest.raises(ArtifactError, match=r"or its cache\.json was changed"):
        CachedTeacher(tmp_path / "cache")


def test_augmentation_that_repeats_is_answered_from_disk_with_the_seed_kept(tmp_path):
    ids = torch.randint(5, 90, (12, 7), generator=torch.Generator().manual_seed(0))
    given = Task(train=DataLoader(TensorDataset(ids, torch.zeros(12).long()), batch_size=5), evaluate=[ids])
    few = Repeated(augmentations=(MaskTokens(mask=1, probability=0.5),), variants=3, seed=4)
    teacher = Counted(nn.Sequential(nn.EmbeddingBag(100, 4), nn.Linear(4, 2)))
    assert cache_bytes(teacher, given, augment=few) == 12 * 3 * 2 * 2
    cached = cached_teacher(teacher, given, tmp_path / "cache", augment=few)
    asked = teacher.calls
    student = nn.Sequential(nn.EmbeddingBag(100, 4), nn.Linear(4, 2))
    distill(cached, student, given, training=Training(epochs=4), augment=[few])
    assert teacher.calls == asked
    assert cached.manifest["augmentation"].endswith("variants=3, seed=4)")
    with pytest.raises(ArtifactError, match="a cache of another augmentation"):
        cached_teacher(teacher, given, tmp_path / "cache", augment=Repeated(augmentations=few.augmentations, seed=5))
    with pytest.raises(DataError, match="has no answer"):
        distill(cached, student, given, training=Training(epochs=1), augment=few.augmentations)


def test_augmentation_that_repeats_has_its_ways_and_leaves_the_caller_s_random_state_alone():
    few = Repeated(augmentations=(MaskTokens(mask=1, probability=0.5),), variants=3)
    batch = Task(train=[], evaluate=[]).split({"input_ids": torch.arange(5, 85).view(8, 10), "labels": torch.arange(8)})
    ways = [few.variant(batch, number).kwargs["input_ids"] for number in range(3)]
    assert not any(torch.equal(ways[one], ways[two]) for one in range(3) for two in range(one))
    torch.manual_seed(1)
    changed = few(batch)
    after = torch.rand(1)
    torch.manual_seed(1)
    drawn = torch.randint(3, (8,))
    assert torch.equal(after, torch.rand(1))
    expected = torch.stack([ways[number][sample] for sample, number in enumerate(drawn.tolist())])
    assert torch.equal(changed.kwargs["input_ids"], expected)
    assert torch.equal(changed.labels, batch.labels)
    # A sample is changed as it is in another batch at another place.
    assert torch.equal(few.variant(batch.first(1), 2).kwargs["input_ids"], ways[2][:1])


def test_augmentation_that_mixes_samples_cannot_repeat():
    with pytest.raises(UsageError, match=r"Repeated\.augmentations: got Mixup"):
        Repeated(augmentations=(Mixup(),))
    with pytest.raises(UsageError, match=r"Repeated\.variants: got 0"):
        Repeated(augmentations=(MaskTokens(mask=1),), variants=0)
