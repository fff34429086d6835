"""Learning-rate schedules."""

import math

import pytest

from segfoundry.trainer.schedule import lr_factor, milestones
from segfoundry.utils.config.sections import Shared
from segfoundry.utils.errors import ConfigError


def solver(**values):
    section = Shared().SOLVER
    for name, value in values.items():
        setattr(section, name, value)
    return section


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
    section.WARMUP_METHOD = "constant"
    assert [lr_factor(section, s, 100) for s in (0, 9, 10)] == pytest.approx([0.1, 0.1, 1.0])


def test_no_warm_up_with_zero_steps():
    assert lr_factor(solver(WARMUP_FACTOR=0.0, WARMUP_ITERS=0), 0, 10) == 1.0


def test_cosine_and_poly_run_from_the_base_to_the_end_rate():
    for name, middle in (("WarmupCosineLR", 0.5 * (1 + math.cos(math.pi / 2))), ("WarmupPolyLR", 0.5**0.9)):
        section = solver(LR_SCHEDULER_NAME=name, BASE_LR=1e-3, BASE_LR_END=1e-4)
        factors = [lr_factor(section, step, 100) for step in range(101)]
        assert factors[0] == 1.0 and factors[100] == pytest.approx(0.1)
        assert factors[50] == pytest.approx(0.1 + 0.9 * middle)
        assert all(a > b for a, b in zip(factors, factors[1:], strict=False))
