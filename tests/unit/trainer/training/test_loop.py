"""The loop: objective, accumulation, exact continuation, non-finite policy, stop signals."""

import signal
from dataclasses import replace

import pytest
import torch

from segfoundry.trainer.machine.environment import seed_step
from segfoundry.trainer.training.build_loop import loop_settings
from segfoundry.trainer.training.callbacks.log_callbacks import LogCallback
from segfoundry.trainer.training.loop import Callback, DataFailure, NonFiniteError
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.errors import DataError, UserError

from ....support.toy import batch, copy, equal, toy_loop, toy_state


class Recorder(Callback):
    def __init__(self):
        self.records, self.losses, self.events = [], [], []

    def start(self, loop):
        self.events.append("start")

    def step(self, loop):
        self.losses.append(float(sum(loop.losses.values())))
        self.events.append("step")

    def record(self, loop, record):
        self.records.append(record)

    def stop(self, loop, error):
        self.events.append("stop" if error is None else type(error).__name__)


class StopAt(Callback):
    def __init__(self, step, number=signal.SIGUSR1):
        self.at, self.number = step, number

    def step(self, loop):
        if loop.step == self.at:
            loop.stop.received = self.number


def trained(steps, *, state=None, **options):
    state = state or toy_state()
    recorder = Recorder()
    assert toy_loop(state, steps, callbacks=[recorder], **options).run() == 0
    return state, recorder


def test_training_lowers_the_loss_and_leaves_frozen_weights_alone():
    before = copy(toy_state().weights())
    state, recorder = trained(150)
    assert recorder.losses[-1] < 0.5 * recorder.losses[0]
    after = state.weights()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == {n for n in after if not n.startswith("frozen")}
    assert state.counters.step == state.counters.updates == 150 and state.counters.images == 600


def test_accumulation_gives_the_same_training_as_one_batch():
    whole, one = trained(5)
    split, several = trained(5, parts=((0,), (1, 2), (3,)))
    assert one.losses == pytest.approx(several.losses, rel=1e-6)
    for name, value in whole.weights().items():
        torch.testing.assert_close(split.weights()[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{"ema": 0.9, "dropout": 0.3}, {"optimizer": "SGD"}, {"precision": "bf16"}])
def test_a_run_cut_anywhere_and_continued_equals_the_uninterrupted_one_bit_for_bit(options):
    reference, _ = trained(8, state=toy_state(**options))
    for cut in (1, 4, 7):
        first = toy_state(**options)
        loop = toy_loop(first, 8, callbacks=[StopAt(cut)])
        assert loop.run() == signal.SIGUSR1 and loop.step == cut
        second = toy_state(seed=99, **options)
        second.load(copy(first.weights()), copy(first.tensors()), first.scalars())
        toy_loop(second, 8).run()
        assert equal(second.weights(), reference.weights())
        assert equal(second.tensors(), reference.tensors())
        assert second.scalars() == reference.scalars()


def test_dropout_is_a_function_of_step_and_process():
    seed_step(1, 5, 0)
    a = torch.rand(3)
    torch.rand(100)
    seed_step(1, 5, 0)
    assert torch.equal(torch.rand(3), a)
    for other in ((2, 5, 0), (1, 6, 0), (1, 5, 1)):
        seed_step(*other)
        assert not torch.equal(torch.rand(3), a)


def test_callbacks_do_not_change_training():
    with_log = toy_state(dropout=0.2)
    toy_loop(with_log, 6, callbacks=[Recorder(), LogCallback(2, 1, 3.0)]).run()
    without = toy_state(dropout=0.2)
    toy_loop(without, 6).run()
    assert equal(with_log.weights(), without.weights())


def test_events_come_in_order_and_stop_hears_of_errors():
    _, recorder = trained(2)
    assert recorder.events == ["start", "step", "step", "stop"]
    recorder = Recorder()

    def broken(start):
        yield [batch(0, (0,))]
        raise DataError("image.png is truncated")

    with pytest.raises(DataFailure, match="image.png is truncated"):
        toy_loop(toy_state(), 5, source=broken, callbacks=[recorder]).run()
    assert recorder.events == ["start", "step", "DataFailure"]


def test_an_error_ends_the_data_while_its_traceback_is_still_held():
    ended = []

    class Loader:
        def __iter__(self):
            try:
                yield from ([batch(step, (0,))] for step in range(9))
            finally:
                ended.append(True)

    class Broken(Callback):
        def step(self, loop):
            raise UserError("evaluation image missing")

    with pytest.raises(UserError) as held:
        toy_loop(toy_state(), 5, source=lambda start: Loader(), callbacks=[Broken()]).run()
    assert ended and held.tb is not None


def poisoned(bad_steps, max_steps):
    def source(start):
        for step in range(start, max_steps):
            item = batch(step, (0, 1))
            if step in bad_steps:
                item.images = item.images.float() * float("nan")
            yield [item]

    return source


def test_steps_that_are_not_finite_change_nothing_and_are_counted():
    state = toy_state(ema=0.9)
    before = copy(state.weights()), copy(state.ema.tensors())
    toy_loop(state, 2, source=poisoned({0, 1}, 2), nonfinite_max=2).run()
    assert equal(state.weights(), before[0]) and equal(state.ema.tensors(), before[1])
    assert (state.counters.step, state.counters.updates, state.counters.skipped) == (2, 0, 2)


def test_too_many_such_steps_stop_the_run_and_name_the_term_and_the_images():
    state = toy_state()
    with pytest.raises(NonFiniteError) as error:
        toy_loop(state, 9, source=poisoned({1, 3, 4}, 9), nonfinite_max=2).run()
    text = str(error.value)
    assert "loss_fit" in text and "image_16.png" in text and "TRAIN.NONFINITE_MAX" in text and "step 4" in text
    assert all(torch.isfinite(w).all() for w in state.weights().values())


def test_clipping_limits_the_global_norm_and_reports_the_norm_before():
    state = toy_state(optimizer="SGD")
    loop = toy_loop(state, 1, clip=1e-3)
    before = copy(state.weights())
    loop.run()
    moved = (
        sum(float(((state.weights()[n] - before[n]) ** 2).sum()) for n in before if not n.startswith("frozen")) ** 0.5
    )
    assert float(loop.grad_norm) > 1e-3
    # SGD moves by lr * (clipped gradient + weight decay)
    decay = 0.01 * sum(float((before[n] ** 2).sum()) for n in before if not n.startswith("frozen")) ** 0.5
    assert moved <= 0.01 * (1e-3 + decay) * 1.01


def test_a_stop_signal_ends_at_the_next_boundary():
    state = toy_state()
    loop = toy_loop(state, 10, callbacks=[StopAt(3, signal.SIGTERM)])
    assert loop.run() == signal.SIGTERM
    assert state.counters.step == 3


def test_running_out_of_memory_names_the_keys_to_lower():
    state = toy_state()

    class Hungry(type(state.model)):
        def losses(self, batch, rng, progress):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    state.model.__class__ = Hungry
    loop = toy_loop(state, 1)
    cfg = load_mapping({"MODEL.NAME": "seem_model_v1"}).typed
    loop.settings = replace(loop.settings, memory_keys=loop_settings(cfg, 1).memory_keys)
    with pytest.raises(UserError) as error:
        loop.run()
    for key in ("TRAIN.BATCH_SIZE_PER_GPU", "COCO.INPUT.IMAGE_SIZE", "USE_CHECKPOINT"):
        assert key in str(error.value)


def test_log_records_hold_the_figures_of_the_step():
    recorder = Recorder()
    toy_loop(toy_state(), 5, callbacks=[recorder, LogCallback(2, 1, 2.5)]).run()
    assert [r["step"] for r in recorder.records] == [1, 2, 4, 5]
    last = recorder.records[-1]
    assert last["kind"] == "train" and last["epoch"] == 2.0 and last["images"] == 20
    assert last["loss"] == pytest.approx(sum(last["losses"].values()))
    assert set(last["losses"]) == {"loss_fit", "loss_size"} and "mean_output" in last["monitors"]
    assert last["lr"] == pytest.approx(0.01 * (1 - 4 / 10))
    assert 0 <= last["data_wait"] <= 1 and last["images_per_second"] > 0 and last["memory"] > 0
