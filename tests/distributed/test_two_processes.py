"""Two gloo processes under torchrun against one process: the same training, the same evaluation."""

import json

import pytest
import torch
from safetensors.torch import load_file

from ..support.tiny_run import TRAINABLE, records, run, write_variant


@pytest.mark.slow
def test_bad_data_of_one_process_is_one_message_from_both(tmp_path):
    config = write_variant(tmp_path, EVAL_AT_START=True)
    images = sorted((tmp_path / "data").rglob("*.jpg")) or sorted((tmp_path / "data").rglob("images/*.png"))
    images[-1].write_bytes(b"")
    done = run("train", "--conf_files", config, "--num-gpus", "2")
    assert done.returncode == 2
    assert f"error: {images[-1]}: the file is empty" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_others_say_one_line_when_the_first_process_ends(tmp_path):
    config = write_variant(tmp_path, EVAL_AT_START=True)
    (tmp_path / "runs" / "seem").mkdir(parents=True)
    (tmp_path / "runs" / "seem" / "eval").write_text("in the way")
    done = run("train", "--conf_files", config, "--num-gpus", "2")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "runs/seem/eval" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("arch", TRAINABLE)
def test_training_and_evaluation_equal_one_process(tmp_path, arch):
    config = write_variant(
        tmp_path,
        arch,
        EVAL_AT_START=True,
        SOLVER__MAX_ITERS=3,
        SOLVER__OPTIMIZER="SGD",
        SOLVER__BASE_LR=0.01,
        TRAIN__BATCH_SIZE_TOTAL=4,
    )
    for name, processes in (("one", 0), ("two", 2)):
        done = run("train", "--conf_files", config, "--overrides", "EXP_NAME", name, processes=processes)
        assert done.returncode == 0, done.stderr
    one, two = tmp_path / "runs" / "one", tmp_path / "runs" / "two"

    expected, found = records(one, "train"), records(two, "train")
    assert found.keys() == expected.keys() == {1, 2, 3}
    for step, record in expected.items():
        assert found[step]["loss"] == pytest.approx(record["loss"], rel=1e-5)
        assert found[step]["losses"] == pytest.approx(record["losses"], rel=1e-4)
    checkpoint = "checkpoints/step-00000003/model.safetensors"
    weights = load_file(two / checkpoint)
    for name, value in load_file(one / checkpoint).items():
        if value.is_floating_point():
            scale = float(value.abs().max()) + 1e-3
            torch.testing.assert_close(weights[name] / scale, value / scale, rtol=0, atol=1e-4, msg=name)

    # Before the first step both have the same weights: the merged evaluation must be equal to the last bit.
    assert records(two, "eval")[0]["metrics"] == records(one, "eval")[0]["metrics"]
    assert json.loads((two / "environment.json").read_text())["processes"] == 2
    assert (two / "log.txt").read_text().count("step 1/3") == 1


@pytest.mark.slow
@pytest.mark.parametrize("arch", TRAINABLE)
def test_equal_micro_batches_give_equal_weights_to_the_last_bit(tmp_path, arch):
    config = write_variant(tmp_path, arch, SOLVER__MAX_ITERS=4, TRAIN__BATCH_SIZE_TOTAL=4, TRAIN__BATCH_SIZE_PER_GPU=2)
    for name, processes in (("one", 0), ("two", 2)):
        done = run("train", "--conf_files", config, "--overrides", "EXP_NAME", name, processes=processes)
        assert done.returncode == 0, done.stderr
    one, two = (load_file(tmp_path / f"runs/{n}/checkpoints/step-00000004/model.safetensors") for n in ("one", "two"))
    assert one.keys() == two.keys() and all(torch.equal(two[name], value) for name, value in one.items())
