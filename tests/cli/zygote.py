"""A process that has imported everything and forks for every command it is told: starting anew takes seconds each.

It reads one JSON object a line and answers with the child's exit code. A child may be told to hit itself with a signal
at a named moment, which makes "killed in the middle of training" the same moment in every run.
"""

import json
import os
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any, NoReturn

import torch

import laconic.export.artifact as artifact
from laconic.cli import main
from laconic.cli.listen import Terminal
from laconic.core.plan import Plan
from laconic.core.task import Batch, Task
from laconic.export.onnxruntime import export

sys.path.insert(0, str(Path(__file__).parents[1]))
from pipeline.samples import at_once


def warm() -> None:
    """Exports once, since PyTorch imports half of that only then; without gradients, which a fork would not bear."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        batch = Batch(args=(torch.zeros(2, 3),))
        export(torch.nn.Linear(3, 2), Plan(), Task(evaluate=[torch.zeros(1)]), batch, Path(folder) / "warm.onnx")


def arm(moment: str, number: int) -> None:
    """Hits this process when a stage begins (`"begin w8a8/plan"`), at a step (`"step 5"`), or amid the artifact."""

    def hit(here: str) -> None:
        if here == moment:
            os.kill(os.getpid(), number)

    begin, step, write = Terminal.begin, Terminal.step, artifact.write_tensors

    def begun(self: Terminal, stage: str) -> None:
        begin(self, stage)
        hit(f"begin {stage}")

    def stepped(self: Terminal, done: int, total: int, note: str) -> None:
        step(self, done, total, note)
        hit(f"step {done}")

    def wrote(*args: Any) -> None:
        hit("amid the artifact")
        write(*args)

    Terminal.begin, Terminal.step, artifact.write_tensors = begun, stepped, wrote


def run(job: dict[str, Any]) -> NoReturn:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(job["folder"])
    tempfile.tempdir = job["temporary"]
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(job[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOCTTY), descriptor)
    if job["terminal"]:
        os.dup2(os.open(job["terminal"], os.O_WRONLY | os.O_NOCTTY), 2)
        os.environ["TERM"] = "xterm"
    sys.argv = ["laconic", *job["arguments"]]
    if job["moment"]:
        arm(job["moment"], job["signal"])
    code: Any = 1
    try:
        with at_once():
            main()
    except SystemExit as leaving:
        code = leaving.code or 0
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


if __name__ == "__main__":
    warm()
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            run(json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers, flush=True)
