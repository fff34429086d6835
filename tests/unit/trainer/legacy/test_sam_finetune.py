"""The original command line of SAM's fine-tuning means what the equivalent `train` command says."""

import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from segfoundry.trainer.cli.legacy import COMMANDS, parse
from segfoundry.trainer.cli.main import main
from segfoundry.trainer.legacy.table import train_parser, translate_command
from segfoundry.utils.config.engine import load_config
from segfoundry.utils.errors import ConfigError, UserError

DATA = "dataset:\n  train: [{data_dir: cables, w_aug: true}]\n  test: {data_dir: cables}\n"
DOCUMENTED = (
    "--lr 1e-4 --epoch_num 500 --batch_size 16 --save_interval 50 --test_interval 100 --exp_name NAME "
    "--config data.yaml --alpha 0.7"
)
SMALL = (
    "SAM.TYPE custom SAM.IMAGE_SIZE 64 SAM.CUSTOM.PATCH_SIZE 8 SAM.CUSTOM.EMBED_DIM 32 SAM.CUSTOM.DEPTH 2 "
    "SAM.CUSTOM.HEADS 2 SAM.CUSTOM.GLOBAL_BLOCKS [1] SAM.CUSTOM.PROMPT_DIM 32 SAM.DLO.INPUT.STANDARD_SIZE [36,64] "
    "DATALOADER.NUM_WORKERS 0 TENSORBOARD False"
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DEBUG_ON", raising=False)
    (tmp_path / "data.yaml").write_text(DATA)
    return tmp_path


def meaning(line, environ=None):
    """Returns the configuration and the notices of an original line, by way of the printed command."""
    args = parse(["sam-finetune", *shlex.split(line)])
    translation = translate_command(args.command, args, args.further, environ or {})
    words = shlex.split(shlex.join(translation.words))
    assert words[0] == "train"
    again = train_parser().parse_args(words[1:])
    return load_config(again.conf_files, again.overrides, again.config_overrides).cfg, translation.notices


def test_the_documented_line():
    cfg, notices = meaning(DOCUMENTED)
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_NUM_EPOCHS, cfg.SAM.LOSS.FOCAL_ALPHA) == (1e-4, 500, 0.7)
    assert (cfg.TRAIN.BATCH_SIZE_TOTAL, cfg.TEST.BATCH_SIZE_TOTAL) == (16, 4)
    assert (cfg.CHECKPOINT.EVERY_EPOCHS, cfg.TRAIN.EVAL_EVERY) == (50, 100)
    assert (cfg.SAVE_DIR, cfg.EXP_NAME, cfg.WANDB, cfg.WANDB_PROJECT) == ("exp", "NAME", True, "SAM-finetuning")
    assert (cfg.SAM.TYPE, cfg.SAM.CHECKPOINT) == ("vit_h", "ckpts/base_model/sam_vit_h_4b8939.pth")
    # A relative path that leads nowhere from here counts from the file.
    assert cfg.SAM.DLO.TRAIN == [{"data_dir": str(Path.cwd() / "cables"), "w_aug": True}]
    assert notices == []


def test_the_originals_defaults():
    cfg, notices = meaning("--config data.yaml")
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_NUM_EPOCHS, cfg.SAM.LOSS.FOCAL_ALPHA) == (1e-4, 10, 0.85)
    assert (cfg.TRAIN.BATCH_SIZE_TOTAL, cfg.TEST.BATCH_SIZE_TOTAL, cfg.GRADIENT_ACCUMULATE_STEP) == (16, 4, 1)
    assert (cfg.CHECKPOINT.EVERY_EPOCHS, cfg.TRAIN.EVAL_EVERY, cfg.EXP_NAME, cfg.WANDB) == (2, 200, "test", True)
    assert cfg.SAM.DLO.INVERT_TARGET and not cfg.SAM.REINIT_MASK_DECODER and cfg.SAM.TRAIN.IMAGE_ENCODER == "frozen"
    assert len(notices) == 1 and "without --lr the learning rate is 0.0001" in notices[0]


def test_switches():
    cfg, notices = meaning("-c data.yaml --lr 1 --full_tune --init_param --no_inv --no_log --device cpu")
    assert set(cfg.SAM.TRAIN[part] for part in ("IMAGE_ENCODER", "PROMPT_ENCODER", "MASK_DECODER")) == {"full"}
    assert cfg.SAM.REINIT_MASK_DECODER and not cfg.SAM.DLO.INVERT_TARGET and not cfg.WANDB and cfg.DEVICE == "cpu"
    assert len(notices) == 1 and "--full_tune trains the whole network" in notices[0]


def test_intervals_count_batches_where_batches_are_accumulated():
    cfg, notices = meaning("-c data.yaml --lr 1 -b 2 --virtual_batch_size 3 --test_interval 100")
    assert (cfg.GRADIENT_ACCUMULATE_STEP, cfg.TRAIN.EVAL_EVERY, cfg.TEST.BATCH_SIZE_TOTAL) == (3, 33, 1)
    assert cfg.SOLVER.COUNT_MICRO_ITERS and "every 33 steps" in notices[0]
    assert meaning("-c data.yaml --lr 1 --virtual_batch_size 300")[0].TRAIN.EVAL_EVERY == 1


@pytest.mark.parametrize(
    ("words", "checkpoint", "random"),
    [
        ("--overrides SAM.TYPE vit_t", "", True),
        ('--config_overrides \'{"SAM": {"TYPE": "vit_t"}}\'', "", True),
        ("--overrides SAM.TYPE vit_b SAM.CHECKPOINT b.pth", "b.pth", False),
        ("--overrides SAM.CHECKPOINT mine.pth", "mine.pth", False),
        ("--overrides SAM.CHECKPOINT=", "", False),
        ("--overrides WEIGHT True RESUME_FROM fine.pth SAM.TYPE vit_b", "", False),
        ("--overrides SAM.IMAGE_SIZE 512", "ckpts/base_model/sam_vit_h_4b8939.pth", False),
    ],
)
def test_the_base_file(words, checkpoint, random):
    cfg, notices = meaning(f"{DOCUMENTED} -- {words}")
    assert cfg.SAM.CHECKPOINT == checkpoint
    assert any("RANDOM WEIGHTS" in notice for notice in notices) == random


def test_words_behind_the_dashes_win():
    cfg, _ = meaning(f"{DOCUMENTED} -- --config_overrides '{{\"SOLVER.BASE_LR\": 1}}' --overrides EXP_NAME other")
    assert cfg.SOLVER.BASE_LR == 1 and cfg.EXP_NAME == "other" and cfg.SAM.LOSS.FOCAL_ALPHA == 0.7


def test_data_may_come_from_overrides_alone():
    cfg, notices = meaning("--lr 1 --test_interval 5 -- --overrides SAM.DLO.TRAIN '[{data_dir: a}]'")
    assert cfg.SAM.DLO.TRAIN == [{"data_dir": "a"}]
    assert notices == [
        "--test_interval has no effect: there is no evaluation data (section `test` of the data set file)"
    ]


def test_environment_variables_of_the_original():
    _, notices = meaning(DOCUMENTED, {"DEBUG_ON": "1", "BUSY_TEST_ON": "1"})
    assert len(notices) == 2 and all("has no effect" in notice for notice in notices)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("-c data.yaml --alpha 1.5", r"SAM\.LOSS\.FOCAL_ALPHA is 1\.5.*--alpha sets SAM\.LOSS\.FOCAL_ALPHA"),
        ("-c data.yaml --alpha 0", r"SAM\.LOSS\.FOCAL_ALPHA.*--alpha sets"),
        ("-c data.yaml -e 0", r"expected at least 1 \(--epoch_num sets SOLVER\.MAX_NUM_EPOCHS\)"),
        ("-c data.yaml --lr fast", "--lr: 'fast': expected a number"),
        ("-c data.yaml -b 1.5", "'1.5': expected an integer"),
        ("-c data.yaml --epoch 3", "unknown option --epoch, did you mean '--epoch_num'"),
        ("-c data.yaml --exp name", "unknown option --exp"),
        ("-c data.yaml extra", "unexpected word 'extra'"),
        ("--lr 1", "--config is missing: name the data set file"),
        ("-c dat.yaml", r"dat\.yaml does not exist.*did you mean 'data\.yaml'"),
        ("-c data.yaml -- --overides A 1", "unknown option --overides, did you mean '--overrides'"),
        ("-c data.yaml -- --overrides SAM.TIPE vit_b", "SAM.TIPE.*did you mean SAM.TYPE"),
    ],
)
def test_mistakes(line, problem):
    with pytest.raises(UserError, match=problem):
        meaning(line)


@pytest.mark.parametrize("line", ["--overrides SAM.TYPE vit_t", "--dry-run", "--resume=never"])
def test_options_of_train_without_the_dashes(line):
    with pytest.raises(UserError, match=r"is an option of 'train': put it behind a final --"):
        parse(["sam-finetune", "-c", "data.yaml", *line.split()])


def test_the_line_names_the_program_as_it_was_called(folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["some where/entry.py"])
    assert main(["legacy", "sam-finetune", "-c", "data.yaml", "--no_log"]) == 2  # no base file here
    assert capsys.readouterr().out.startswith("python 'some where/entry.py' train --conf_files ")


def test_other_names(capsys):
    assert main(["legacy", "sam-finetuning"]) == 2 and "did you mean 'sam-finetune'" in capsys.readouterr().err
    assert main(["legacy"]) == 2 and "NAME" in capsys.readouterr().err
    assert main(["legacy", "--help"]) == 0 and "sam-finetune" in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS.values(), ids=list(COMMANDS))
def test_help_lists_the_flags_with_keys_that_exist(command, capsys):
    assert main(["legacy", command.name, "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    leaves = load_config(command.conf_files).origins
    for flag in command.flags:
        assert f"{flag.name} " in shown and (flag.keys or flag.sets)
        for key in (*flag.keys, *flag.absent):
            assert key in leaves or any(name.startswith(f"{key}.") for name in leaves)


def test_there_are_the_fourteen_flags_of_the_original():
    shorts = {flag.short for flag in COMMANDS["sam-finetune"].flags} - {""}
    assert len(COMMANDS["sam-finetune"].flags) == 14 and shorts == {"-e", "-b", "-s", "-n", "-c"}


positive = st.integers(1, 10**6)
flags = st.fixed_dictionaries(
    {},
    optional={
        "--lr": st.floats(0, 10),
        "--epoch_num": positive,
        "--batch_size": positive,
        "--virtual_batch_size": st.integers(1, 64),
        "--save_interval": positive,
        "--test_interval": positive,
        "--alpha": st.floats(0, 1, exclude_min=True, exclude_max=True),
        "--exp_name": st.text(),
        "--device": st.sampled_from(["cuda", "cpu", "cuda:1"]),
        **{name: st.none() for name in ("--no_log", "--full_tune", "--init_param", "--no_inv")},
    },
)


@given(flags)
@settings(max_examples=40, deadline=None)
def test_any_line_means_what_it_says(tmp_path_factory, found):
    path = tmp_path_factory.getbasetemp() / "data.yaml"
    path.write_text(DATA)
    words = [f"--config={path}", *(name if v is None else f"{name}={v}" for name, v in found.items())]
    cfg, _ = meaning(shlex.join(words))
    accumulate = found.get("--virtual_batch_size", 1)
    batch = found.get("--batch_size", 16)
    assert cfg.SOLVER.BASE_LR == found.get("--lr", 1e-4) and cfg.SAM.LOSS.FOCAL_ALPHA == found.get("--alpha", 0.85)
    assert cfg.SOLVER.MAX_NUM_EPOCHS == found.get("--epoch_num", 10) and cfg.GRADIENT_ACCUMULATE_STEP == accumulate
    assert cfg.TRAIN.BATCH_SIZE_TOTAL == batch and cfg.TEST.BATCH_SIZE_TOTAL == max(1, batch // 4)
    assert cfg.CHECKPOINT.EVERY_EPOCHS == found.get("--save_interval", 2)
    assert cfg.TRAIN.EVAL_EVERY == max(1, found.get("--test_interval", 200) // accumulate)
    assert cfg.EXP_NAME == found.get("--exp_name", "test") and cfg.DEVICE == found.get("--device", "auto")
    assert cfg.WANDB == ("--no_log" not in found) and cfg.SAM.DLO.INVERT_TARGET == ("--no_inv" not in found)
    assert cfg.SAM.REINIT_MASK_DECODER == ("--init_param" in found)
    assert (cfg.SAM.TRAIN.IMAGE_ENCODER == "full") == ("--full_tune" in found)


def cables(folder, count=4):
    """Writes images with a bright bar, and its masks."""
    for part in ("imgs", "masks"):
        (folder / "cables" / part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        image, mask = rng.integers(0, 120, (36, 64, 3), dtype=np.uint8), np.zeros((36, 64), np.uint8)
        mask[10 + i : 14 + i, 8:56] = 255
        image[mask > 0] = 230
        Image.fromarray(image).save(folder / f"cables/imgs/{i}.png")
        Image.fromarray(mask).save(folder / f"cables/masks/{i}.png")


def test_the_line_trains_and_leaves_what_the_original_leaves(folder, capsys):
    cables(folder)
    line = f"--lr 1e-3 -e 3 -b 4 -s 2 --test_interval 2 -n NAME -c data.yaml --no_log -- --overrides {SMALL}"
    assert main(["legacy", "sam-finetune", *line.split()]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("segfoundry train --conf_files configs/sam/dlo_vit_h.yaml data.yaml --overrides ")
    assert "RANDOM WEIGHTS" in shown.err and "finished: 3 steps" in shown.err
    run = folder / "exp/NAME"
    expected = [f"{kind}_{step:07d}_b4.pth" for kind in ("ckpt", "optimizer") for step in (2, 3)]
    assert sorted(path.name for path in (run / "ckpts").iterdir()) == expected
    state = torch.load(run / "ckpts/ckpt_0000003_b4.pth", weights_only=True)
    assert {name.split(".")[0] for name in state} == {"image_encoder", "prompt_encoder", "mask_decoder"}
    evaluated = (run / "metrics.jsonl").read_text().count('"kind": "eval"')
    assert evaluated == 2  # step 2, and the end

    # The printed line is the same run: it finds itself finished.
    assert main(shlex.split(shown.out.splitlines()[0])[1:]) == 0
    assert "is finished (3 steps)" in capsys.readouterr().err


def test_a_missing_base_file_names_its_key(folder, capsys):
    cables(folder)
    assert main(["legacy", "sam-finetune", *DOCUMENTED.split(), "--no_log"]) == 2
    error = capsys.readouterr().err
    assert "SAM.CHECKPOINT" in error and "sam_vit_h_4b8939.pth" in error and "https://" in error


@pytest.mark.slow
def test_the_documented_line_with_a_small_published_network(folder, capsys):
    cables(folder)
    words = [*DOCUMENTED.split(), "--no_log", "--", "--overrides"]
    words += "SAM.TYPE vit_t SAM.IMAGE_SIZE 256 SOLVER.MAX_ITERS 2 DATALOADER.NUM_WORKERS 0 TENSORBOARD False".split()
    assert main(["legacy", "sam-finetune", *words]) == 0
    assert "finished: 2 steps" in capsys.readouterr().err


def test_config_errors_of_other_keys_are_left_alone():
    with pytest.raises(ConfigError) as error:
        meaning(f"{DOCUMENTED} -- --overrides SOLVER.GAMMA x")
    assert "sets" not in str(error.value)
