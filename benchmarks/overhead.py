"""Time that the trainer adds to a bare loop over the same model and batches.

The bare loop does what any training does: forward, backward, clipping, AdamW. The trainer adds seeds per step, the
check for non-finite numbers on every step, schedule, counters, figures, metrics.jsonl and TensorBoard. Both run the
same steps from the same weights and take turns step by step, so that a busy machine slows both. Loading data and
writing checkpoints are left out.

    python benchmarks/overhead.py --steps 60
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import torch  # noqa: E402

from segfoundry.datasets.embedded.scenes import prepare_scenes  # noqa: E402
from segfoundry.datasets.prepare.prepare_dataset import PrepareOptions  # noqa: E402
from segfoundry.trainer.machine.distributed import Processes  # noqa: E402
from segfoundry.trainer.machine.launch import Ranks  # noqa: E402
from segfoundry.trainer.machine.signals import StopSignals  # noqa: E402
from segfoundry.trainer.plan import Plan, plan_training  # noqa: E402
from segfoundry.trainer.training.build_loop import loop_settings, train_data  # noqa: E402
from segfoundry.trainer.training.build_state import build_state  # noqa: E402
from segfoundry.trainer.training.callbacks.log_callbacks import JsonLinesCallback, LogCallback  # noqa: E402
from segfoundry.trainer.training.callbacks.progress_callback import ProgressCallback  # noqa: E402
from segfoundry.trainer.training.callbacks.tracker_callbacks import TensorBoardCallback  # noqa: E402
from segfoundry.trainer.training.loop import Callback, Loop  # noqa: E402
from segfoundry.utils.config.engine import load_config  # noqa: E402
from segfoundry.utils.draws import Draws  # noqa: E402
from segfoundry.utils.structures.samples import Batch  # noqa: E402

TARGET = 0.03
WARM_UP = 5
CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default=str(ROOT / "configs/seem/tiny.yaml"))
    parser.add_argument("--steps", type=int, default=60, help="measured steps of each side")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        plan = prepare(args.config, Path(folder))
        steps = WARM_UP + args.steps
        batches = list(train_data(plan, steps, Processes(Ranks(), CPU))(0))
        sides = {"bare loop": bare(plan, batches), "trainer": trainer(plan, batches, Path(folder))}
        report(measure(sides, steps))


def prepare(config: str, folder: Path) -> Plan:
    """Draws a small data set and resolves the configuration for it."""
    record = prepare_scenes(folder / "data", PrepareOptions(workers=1), train=8, val=1).record
    overrides = ["DATASETS.TRAIN", f"[{record}]", "DATASETS.TEST", "[]", "DEVICE", "cpu", "DATALOADER.NUM_WORKERS", "0"]
    return plan_training(load_config([config], overrides))


def bare(plan: Plan, batches: list[list[Batch]]) -> Iterator[None]:
    """Yields after each step of the shortest loop that trains."""
    state, _ = build_state(plan, CPU, load=False)
    model, optimizer = state.model, state.optimizer
    clip = plan.cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE
    parameters = [p for p in model.parameters() if p.requires_grad]
    model.train()
    for step, micro_batches in enumerate(batches):
        for batch in micro_batches:
            batch.totals = None
            losses = model(batch, rng=Draws(plan.cfg.SEED, step))
            sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        yield


class _Turns(Callback):
    """Gives the turn back after each step: the loop runs in a thread of its own, one of the two at a time."""

    def __init__(self) -> None:
        import threading

        self.go, self.done = threading.Semaphore(0), threading.Semaphore(0)

    def start(self, loop: Loop) -> None:
        self.go.acquire()

    def step(self, loop: Loop) -> None:
        self.done.release()
        if not loop.done:
            self.go.acquire()


def trainer(plan: Plan, batches: list[list[Batch]], folder: Path) -> Iterator[None]:
    """Yields after each step of the trainer's loop with its callbacks."""
    import threading

    state, _ = build_state(plan, CPU, load=False)
    turns = _Turns()
    cfg = plan.cfg
    loop = Loop(
        state.model,
        state,
        lambda start: batches[start:],
        loop_settings(cfg, len(batches)),
        processes=Processes(Ranks(), CPU),
        stop=StopSignals(),
        callbacks=[
            JsonLinesCallback(folder / "metrics.jsonl"),
            ProgressCallback(),
            TensorBoardCallback(folder),
            LogCallback(cfg.LOG_EVERY, cfg.LOG_FIRST, 2.0),
            turns,
        ],
    )
    thread = threading.Thread(target=loop.run, daemon=True)
    thread.start()
    for _ in batches:
        turns.go.release()
        turns.done.acquire()
        yield
    thread.join()


def measure(sides: dict[str, Iterator[None]], steps: int) -> dict[str, dict[str, list[float]]]:
    """Lets the sides take turns; returns wall and CPU seconds of each measured step."""
    found: dict[str, dict[str, list[float]]] = {side: {"wall": [], "cpu": []} for side in sides}
    for step in range(steps):
        # The order changes, so that neither side always runs on the caches that the other one left.
        for side in list(sides) if step % 2 else list(sides)[::-1]:
            wall, cpu = time.perf_counter(), time.process_time()
            next(sides[side])
            if step >= WARM_UP:
                found[side]["wall"].append(time.perf_counter() - wall)
                found[side]["cpu"].append(time.process_time() - cpu)
    for side in sides.values():
        with contextlib.suppress(StopIteration):
            next(side)
    return found


def report(found: dict[str, dict[str, list[float]]]) -> None:
    print(f"{'':12}{'wall ms':>10}{'CPU ms':>10}   (medians)")
    for side, times in found.items():
        print(f"{side:12}{1e3 * statistics.median(times['wall']):10.2f}{1e3 * statistics.median(times['cpu']):10.2f}")
    for kind in ("wall", "cpu"):
        # Pairs of neighbouring steps: what slows the machine for a while slows both of a pair.
        pairs = zip(found["trainer"][kind], found["bare loop"][kind], strict=True)
        share = statistics.median(ours / theirs for ours, theirs in pairs) - 1
        verdict = "reached" if share < TARGET else "missed"
        print(f"overhead, {kind}: {100 * share:+.1f} %   target < {100 * TARGET:.0f} %: {verdict}")


if __name__ == "__main__":
    main()
