"""Learning-rate schedules."""

import math
from dataclasses import replace

import pytest

from segfoundry.trainer.training.lr_schedule import lr_factor, warmup_notice
from segfoundry.utils.config.sections import Shared
from segfoundry.utils.errors import ConfigError
from segfoundry.utils.schedules import milestones

from ....support import goldens

FINE_TUNING = {"LR_SCHEDULER_NAME": "WarmupStepExp", "WARMUP_ITERS": 1000, "GAMMA": 0.98946, "MIN_LR": 1e-7}


def solver(**values):
    return replace(Shared().SOLVER, **values)


def test_published_multi_step_schedule_of_1000_steps():
    factors = [lr_factor(solver(), step, 1000) for step in range(1000)]
    assert factors[887] == 1.0 and factors[888] == pytest.approx(0.1)
    assert factors[961] == pytest.approx(0.1) and factors[962] == pytest.approx(0.01)


def test_steps_above_one_are_absolute():
    assert milestones(solver(STEPS=[0.5, 30, 1.0]), 100) == [30, 50, 100]
    with pytest.raises(ConfigError, match="SOLVER.STEPS"):
        milestones(solver(STEPS=[-0.5]), 100)


def test_linear_and_constant_warm_up():
    section = solver(LR_SCHEDULER_NAME="constant", WARMUP_FACTOR=0.1, WARMUP_ITERS=10)
    assert [lr_factor(section, s, 100) for s in (0, 5, 10, 99)] == pytest.approx([0.1, 0.55, 1.0, 1.0])
    section = replace(section, WARMUP_METHOD="constant")
    assert [lr_factor(section, s, 100) for s in (0, 9, 10)] == pytest.approx([0.1, 0.1, 1.0])


def test_a_run_that_ends_in_its_warm_up_is_told_so():
    section = solver(**FINE_TUNING, BASE_LR=1e-4)
    assert "has 225 iterations and SOLVER.WARMUP_ITERS is 1000" in warmup_notice(section, 225)
    assert warmup_notice(section, 1000) is None
    assert "has 900 iterations" in warmup_notice(section, 225, accumulate=4) and warmup_notice(section, 250, 4) is None
    section = replace(section, COUNT_MICRO_ITERS=False)
    assert "has 250 iterations" in warmup_notice(section, 250, accumulate=4)
    assert warmup_notice(solver(WARMUP_ITERS=0), 1) is None


def test_no_warm_up_with_zero_steps():
    assert lr_factor(solver(WARMUP_FACTOR=0.0, WARMUP_ITERS=0), 0, 10) == 1.0


def test_cosine_and_poly_run_from_the_base_to_the_end_rate():
    poly = ("WarmupPolyLR", 0.5**0.9), ("WarmupPoly", 0.5**0.9)
    for name, middle in (("WarmupCosineLR", 0.5 * (1 + math.cos(math.pi / 2))), *poly):
        section = solver(LR_SCHEDULER_NAME=name, BASE_LR=1e-3, BASE_LR_END=1e-4)
        factors = [lr_factor(section, step, 100) for step in range(101)]
        assert factors[0] == 1.0 and factors[100] == pytest.approx(0.1)
        assert factors[50] == pytest.approx(0.1 + 0.9 * middle)
        assert all(a > b for a, b in zip(factors, factors[1:], strict=False))


@pytest.mark.parametrize("accumulate", [1, 4])
def test_geometric_decay_follows_the_published_table(accumulate):
    for base, table in goldens.find("sam", "dlo_losses_lr").info["lr_schedule"].items():
        section = solver(BASE_LR=float(base), COUNT_MICRO_ITERS=False, **FINE_TUNING)
        for iteration, rate in table.items():
            factor = lr_factor(section, int(iteration) - 1, 300_000, accumulate)
            assert factor * section.BASE_LR == pytest.approx(rate, rel=1e-9)


def test_geometric_decay_counts_micro_batches():
    section = solver(**FINE_TUNING)
    assert lr_factor(section, 0, 10, 4) == pytest.approx(4e-3)
    assert lr_factor(section, 249, 10, 4) == 1.0 and lr_factor(section, 274, 10, 4) == pytest.approx(0.98946)
    steps = solver(COUNT_MICRO_ITERS=False, **FINE_TUNING)
    assert lr_factor(steps, 0, 10, 4) == pytest.approx(1e-3)


def test_the_lowest_rate_never_lies_above_the_base_rate():
    section = solver(BASE_LR=1e-8, **FINE_TUNING)
    assert lr_factor(section, 100_000, 200_000) == 1.0
    assert lr_factor(solver(BASE_LR=0.0, **FINE_TUNING), 100_000, 200_000) < 1e-4
