"""Losses learn where the run is, as a pure function of the step."""

import signal

import pytest

from segfoundry.modeling.base import START, Progress
from segfoundry.modeling.sam.model import SamSegmenter
from segfoundry.trainer.plan import plan_training
from segfoundry.trainer.training.dry_run import dry_run
from segfoundry.trainer.training.loop import Callback
from segfoundry.trainer.training.prepare_run import run_length
from segfoundry.trainer.training.start import train
from segfoundry.utils.config.engine import load_config
from segfoundry.utils.draws import Draws

from .....support.tiny_run import write_config
from .....support.toy import Toy, batch, copy, equal, toy_loop, toy_state


class Staged(Toy):
    """Its second loss term comes in with the epochs."""

    def losses(self, batch, rng, progress):
        self.seen = [*getattr(self, "seen", []), progress]
        losses = super().losses(batch, rng, progress)
        return losses | {"loss_size": losses["loss_size"] * (1 + progress.epoch)}


class StopAt(Callback):
    def __init__(self, step):
        self.at = step

    def step(self, loop):
        if loop.step == self.at:
            loop.stop.received = signal.SIGUSR1


def staged(seed=0):
    state = toy_state(seed=seed)
    state.model.__class__ = Staged
    return state


def test_every_micro_batch_of_a_step_sees_the_step_and_the_epoch():
    state = staged()
    toy_loop(state, 3, parts=((0, 1), (2, 3)), steps_per_epoch=2.5).run()
    assert state.model.seen == [Progress(step, step / 2.5) for step in (0, 0, 1, 1, 2, 2)]


def test_a_staged_run_cut_and_continued_equals_the_uninterrupted_one_bit_for_bit():
    whole = staged()
    toy_loop(whole, 6, steps_per_epoch=1.5).run()
    first, second = staged(), staged(seed=9)
    toy_loop(first, 6, steps_per_epoch=1.5, callbacks=[StopAt(2)]).run()
    second.load(copy(first.weights()), copy(first.tensors()), first.scalars())
    toy_loop(second, 6, steps_per_epoch=1.5).run()
    assert equal(second.weights(), whole.weights()) and equal(second.tensors(), whole.tensors())
    assert second.model.seen == whole.model.seen[2:]
    constant = toy_state()
    toy_loop(constant, 6, steps_per_epoch=1.5).run()
    assert not equal(constant.weights(), whole.weights()), "the stage must make a difference"


def test_a_model_called_by_itself_is_at_the_start():
    model = staged().model.train()
    model(batch(0, (0, 1)), rng=Draws(0, 0))
    model(batch(0, (0, 1)), rng=Draws(0, 0), progress=Progress(7, 1.25))
    assert START == Progress(0, 0.0) and model.seen == [START, Progress(7, 1.25)]
    with pytest.raises(AttributeError):
        START.step = 1


def test_training_and_dry_run_count_the_epochs_of_the_data(tmp_path, monkeypatch):
    seen = []
    losses = SamSegmenter.losses
    monkeypatch.setattr(SamSegmenter, "losses", lambda self, *a: seen.append(a[2]) or losses(self, *a))
    plan = plan_training(load_config([write_config(tmp_path, "sam", SOLVER__MAX_ITERS=2, DATASETS__TEST=[])]))
    per_epoch = run_length(plan).per_epoch
    assert dry_run(plan) == 0 and set(seen) == {START}
    seen.clear()
    assert train(plan, name="run") == 0
    assert set(seen) == {START, Progress(1, 1 / per_epoch)}
