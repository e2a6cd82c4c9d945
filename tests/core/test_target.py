import pytest

from laconic.core.errors import UsageError
from laconic.core.target import Target


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("onnxruntime", Target()),
        ("onnxruntime:threads=2", Target(threads=2)),
        ("onnxruntime:threads=2,batch_size=8", Target(threads=2, batch_size=8)),
    ],
)
def test_a_target_is_read_from_text(text: str, target: Target) -> None:
    assert Target.parse(text) == target


def test_a_target_is_taken_as_it_is() -> None:
    assert Target.parse(Target(threads=3)) == Target(threads=3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tensorrt", "Target.runtime: got 'tensorrt'; expected one of onnxruntime"),
        ("", "Target.runtime: got ''"),
        ("onnxruntime:cores=2", "expected runtime:threads=N,batch_size=N"),
        ("onnxruntime:threads", "expected runtime:threads=N,batch_size=N"),
        ("onnxruntime:threads=-1", "expected runtime:threads=N,batch_size=N"),
        ("onnxruntime:threads=0", "Target.threads: got 0; expected a whole number of at least 1"),
        ("onnxruntime:batch_size=0", "Target.batch_size: got 0"),
    ],
)
def test_what_is_no_target_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Target.parse(text)


def test_a_target_says_what_it_is() -> None:
    assert str(Target()) == "onnxruntime, 1 thread, batch 1"
    assert str(Target(threads=2, batch_size=8)) == "onnxruntime, 2 threads, batch 8"
