import io

from rich.console import Console
from training_samples import data, network, task_of

from laconic.train import Bar, Training, supervised, train


def shown(*, terminal: bool) -> str:
    file, task = io.StringIO(), task_of(data())
    with Bar("teaching", console=Console(file=file, force_terminal=terminal, width=90)) as bar:
        run = train(network(), task, Training(steps=3), objective=supervised(task), progress=bar)
    text = file.getvalue()
    assert not terminal or f"loss {sum(run.losses.values()):.4f}" in text
    return text


def test_a_terminal_shows_step_and_loss() -> None:
    text = shown(terminal=True)
    assert "teaching" in text and "3/3" in text


def test_a_file_shows_no_bar() -> None:
    assert shown(terminal=False).strip() == ""
