"""kill -9 at random moments of a run, the same command again each time: the final weights must not notice.

SEGFOUNDRY_KILLS sets how often (default 3).
"""

import os
import random
import shutil
import signal
import subprocess
import time

import pytest
import torch
from safetensors.torch import load_file

from ..support.tiny_run import command, records, run, write_variant

KILLS = int(os.environ.get("SEGFOUNDRY_KILLS", "3"))
STEPS = 60
# What is trained, and further keys. The frozen encoder's embeddings come from a cache that each of the two runs fills.
CASES = {
    "seem": {},
    "sam-foreground": {
        "SAM__TRAIN__IMAGE_ENCODER": "frozen",
        "SAM__CACHE_EMBEDDINGS": True,
        "SOLVER__OPTIMIZER": "ADAM",
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("arch", CASES)
def test_killed_and_resumed_run_equals_the_uninterrupted_one_bit_for_bit(tmp_path, monkeypatch, arch):
    monkeypatch.setenv("SEGFOUNDRY_CACHE", str(tmp_path / "cache"))
    config = write_variant(
        tmp_path,
        arch,
        **CASES[arch],
        SOLVER__MAX_ITERS=STEPS,
        CHECKPOINT__EVERY=3,
        TRAIN__EVAL_EVERY=20,
        TRAIN__EMA=0.9,
        DATALOADER__NUM_WORKERS=1,
    )
    reference = run("train", "--conf_files", config, "--overrides", "EXP_NAME", "reference")
    assert reference.returncode == 0, reference.stderr
    monkeypatch.setenv("SEGFOUNDRY_CACHE", str(tmp_path / "cache_of_killed"))
    words = command("train", "--conf_files", config, "--overrides", "EXP_NAME", "killed")
    folder, rng = tmp_path / "runs" / "killed", random.Random(0)
    kills, longest = 0, 1.5 / KILLS
    while kills < KILLS:
        steps = newest_step(folder)
        if steps == STEPS:  # a fast machine: once more from the start, with shorter waits
            shutil.rmtree(folder)
            kills, steps, longest = 0, 0, longest / 2
            assert longest > 0.01, f"the run ends before {KILLS} kills"
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
            wait_for_a_new_step(child, folder, steps)
            # A run lasts a few seconds: the moments fall into steps, saves and evaluations.
            time.sleep(rng.uniform(0, longest))
            child.kill()
            kills += child.wait() == -signal.SIGKILL
    final = run("train", "--conf_files", config, "--overrides", "EXP_NAME", "killed")
    assert final.returncode == 0, final.stderr

    for name in ("model", "state"):
        part = f"checkpoints/step-{STEPS:08d}/{name}.safetensors"
        expected, found = load_file(tmp_path / "runs" / "reference" / part), load_file(folder / part)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[n], expected[n]) for n in expected)
    same = ("loss", "losses", "grad_norm", "lr", "images")
    for step, record in records(tmp_path / "runs" / "reference", "train").items():
        assert {k: records(folder, "train")[step][k] for k in same} == {k: record[k] for k in same}
    evaluations = records(folder, "eval")
    assert {s: r["metrics"] for s, r in evaluations.items()} == {
        s: r["metrics"] for s, r in records(tmp_path / "runs" / "reference", "eval").items()
    }


def newest_step(folder):
    names = [p.name for p in (folder / "checkpoints").glob("step-*")] if folder.is_dir() else []
    return max((int(n.split("-")[1]) for n in names), default=0)


def wait_for_a_new_step(child, folder, steps):
    deadline = time.monotonic() + 600
    while newest_step(folder) <= steps:
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
