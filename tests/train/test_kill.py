import random
import signal
import subprocess
import sys
from pathlib import Path

from training_samples import long_run, same_weights

SCRIPT = """
import sys
from training_samples import long_run

long_run(sys.argv[1], progress=lambda step, total, loss: print(step, flush=True))
"""


def start(work: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", SCRIPT, str(work)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent)


def test_a_run_killed_at_a_random_step_and_resumed_gives_the_same_weights_bit_for_bit(tmp_path: Path) -> None:
    victim_step = random.randrange(2, 60)  # Far from the end, which it may come nearer to before it is hit.
    victim = start(tmp_path)
    assert victim.stdout is not None
    for line in victim.stdout:
        if int(line) == victim_step:
            victim.send_signal(signal.SIGKILL)
            break
    victim.communicate(timeout=120)
    assert victim.returncode == -signal.SIGKILL
    steps: list[int] = []
    resumed = long_run(str(tmp_path), progress=lambda step, total, loss: steps.append(step)).model
    assert steps[0] >= victim_step
    assert steps == list(range(steps[0], 151))
    assert same_weights(long_run().model, resumed), f"killed at step {victim_step}"
