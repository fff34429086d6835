"""The config verb and the grammar of the command line."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from segfoundry.trainer.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
FOCALL = "configs/seem/focall_unicl_lang_v1.yaml"
FINE_TUNE = (
    "COCO.INPUT.IMAGE_SIZE 256 MODEL.DECODER.HIDDEN_DIM 512 MODEL.ENCODER.CONVS_DIM 512 MODEL.ENCODER.MASK_DIM 512 "
    "MODEL.DECODER.LVIS.ENABLED False TEST.BATCH_SIZE_TOTAL 1 TRAIN.BATCH_SIZE_TOTAL 4 TRAIN.BATCH_SIZE_PER_GPU 2 "
    "SOLVER.BASE_LR 0.0001 MODEL.ENCODER.NUM_CLASSES 5 SOLVER.MAX_NUM_EPOCHS 30 LOG_EVERY 100 "
    "MODEL.DECODER.TEST.PANOPTIC_ON False MODEL.DECODER.TEST.INSTANCE_ON False WANDB True WEIGHT True "
    "EVAL_AT_START False MODEL.BACKBONE.FOCAL.FINE_TUNE True MODEL.DECODER.FINE_TUNE False "
    "RESUME_FROM /path/to/pretrain.pt"
).split()


@pytest.fixture
def shown(capsys):
    """Returns a function that runs ``config`` with these words and returns the tree it printed."""

    def run(*words: str) -> dict:
        assert main(["config", *words]) == 0, capsys.readouterr().err
        return yaml.safe_load(capsys.readouterr().out)

    return run


@pytest.fixture
def fails(capsys):
    """Returns a function that runs words that must fail with exit code 2, and returns the message."""

    def run(*words: str) -> str:
        assert main(list(words)) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith("error: ") and "Traceback" not in captured.err and captured.out == ""
        return captured.err

    return run


def test_the_documented_fine_tuning_command(capsys):
    assert main(["config", "--conf_files", FOCALL, "--overrides", *FINE_TUNE]) == 0
    captured = capsys.readouterr()
    tree = yaml.safe_load(captured.out)
    assert tree["COCO"]["INPUT"]["IMAGE_SIZE"] == 256 and tree["MODEL"]["ENCODER"]["NUM_CLASSES"] == 5
    assert tree["MODEL"]["BACKBONE"]["FOCAL"]["FINE_TUNE"] is True and tree["WEIGHT"] is True
    assert tree["RESUME_FROM"] == "/path/to/pretrain.pt" and tree["TRAIN"]["BATCH_SIZE_PER_GPU"] == 2
    assert captured.err == ""  # every key of the command has an effect


def test_options_may_follow_overrides(shown):
    tree = shown("--overrides", "SEED", "3", "LOG_EVERY=7", "--conf_files", FOCALL, "--overrides", "PORT", "1")
    assert (tree["SEED"], tree["LOG_EVERY"], tree["PORT"]) == (3, 7, "1")


@pytest.mark.parametrize("value", ["-0.1", "-1e-3", "--not-an-option", "a=b", "-", "", "0"])
def test_a_value_may_hold_anything(shown, value):
    assert shown("--conf_files", FOCALL, "--overrides", "EXP_NAME", value, "SEED", "4")["EXP_NAME"] == value


def test_json_overrides_in_pieces_are_weaker_than_words(shown):
    tree = shown(
        "--conf_files",
        FOCALL,
        "--config_overrides",
        '{"SOLVER.BASE_LR":',
        '1e-3, "SEED": 5}',
        "--overrides",
        "SEED",
        "6",
    )
    assert tree["SOLVER"]["BASE_LR"] == 1e-3 and tree["SEED"] == 6


def test_several_files(shown, tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("SEED: 9\n")
    assert shown("--conf_files", FOCALL, str(path))["SEED"] == 9
    assert shown("--conf_files", FOCALL, "--conf_files", str(path))["SEED"] == 9


def test_user_dir_is_accepted_with_a_notice(capsys):
    assert main(["config", "--conf_files", FOCALL, "--user_dir", "somewhere"]) == 0
    assert "note: --user_dir somewhere has no effect" in capsys.readouterr().err


def test_other_processes_of_a_job_print_no_notices(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert main(["config", "--conf_files", FOCALL, "--user_dir", "somewhere"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--over", "SEED", "1"], "unknown option --over, did you mean '--overrides'"),
        (["--conf_file", FOCALL], "did you mean '--conf_files'"),
        (["--overrides", "SEED", "1", "--confs", FOCALL], "unknown option --confs, did you mean '--conf_files'"),
        (["--overrides", "SEED"], "the key 'SEED' at the end has no value"),
        (["--overrides", "SEED", "?"], "SEED = '?'"),
        (["--overrides", "sede", "1"], "unknown key sede"),
        (["--config_overrides", "{"], "--config_overrides"),
        (["--conf_files", "nowhere.yaml"], "nowhere.yaml does not exist"),
        (["--explain", "SOLVER.BASE_RL"], "did you mean SOLVER.BASE_LR"),
        (["--diff", FOCALL], "--diff takes one file"),
        (["--explain", "SEED", "--document"], "not allowed with"),
        (["--overrides", "", "1"], "unknown key ''"),
        (["stray"], "unexpected word 'stray'"),
    ],
)
def test_wrong_command_lines(fails, words, problem):
    conf = [] if words[0] in ("--explain", "--diff", "--conf_file") else ["--conf_files", FOCALL]
    order = [*words, *conf] if words == ["stray"] else [*conf, *words]
    assert problem in fails("config", *order)


def test_missing_configuration_and_wrong_verbs(fails):
    assert "--conf_files" in fails("config")
    assert "unknown option --conf, did you mean '--conf_files'" in fails("train", "--conf", FOCALL)
    assert "KEY VALUE follow --overrides" in fails("train", "--conf_files", FOCALL, "--dry-run", "SEED", "1")
    assert "unknown verb 'trian', did you mean 'train'" in fails("trian")


def test_debug_shows_the_traceback(capsys):
    assert main(["config", "--conf_files", FOCALL, "--overrides", "SEED", "?", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_diff(capsys):
    assert main(["config", "--diff", FOCALL, "configs/seem/focalt_unicl_lang_v1.yaml"]) == 0
    out = capsys.readouterr().out
    assert "MODEL.BACKBONE.NAME: focal -> focal_dw\n" in out and len(out.splitlines()) == 4
    assert main(["config", "--conf_files", FOCALL, "--diff", FOCALL, "--overrides", "SEED", "1"]) == 0
    assert capsys.readouterr().out == "SEED: 1 -> 0\n"


def test_explain(capsys):
    assert (
        main(
            [
                "config",
                "--conf_files",
                FOCALL,
                "--explain",
                "COCO.INPUT.IMAGE_SIZE",
                "--overrides",
                "COCO.INPUT.IMAGE_SIZE",
                "512",
            ]
        )
        == 0
    )
    out = capsys.readouterr().out
    for part in ("integer", "1024", "512", "--overrides", "at least 32", "pixels"):
        assert part in out
    assert main(["config", "--explain", "SOLVER.OPTIMIZER"]) == 0
    assert "ADAMW, ADAM, SGD" in capsys.readouterr().out
    assert main(["config", "--explain", "CUDA"]) == 0
    assert "no effect DEVICE decides" in capsys.readouterr().out
    assert main(["config", "--explain", "SOLVER.CLIP_GRADIENTS"]) == 0
    assert "SOLVER.CLIP_GRADIENTS.CLIP_VALUE" in capsys.readouterr().out
    assert main(["config", "--explain", "SOLVER.FIX_PARAM.backbone", "--conf_files", FOCALL]) == 0
    assert "True" in capsys.readouterr().out


def test_what_config_prints_is_a_configuration(tmp_path, capsys):
    assert main(["config", "--conf_files", FOCALL, "--overrides", *FINE_TUNE]) == 0
    path = tmp_path / "printed.yaml"
    path.write_text(capsys.readouterr().out)
    assert main(["config", "--conf_files", FOCALL, "--overrides", *FINE_TUNE, "--diff", str(path)]) == 0
    assert capsys.readouterr().out == ""


def test_the_program_runs_from_any_folder(tmp_path):
    command = [sys.executable, str(ROOT / "entry.py"), "config", "--conf_files", FOCALL]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "seem_model_v1" in done.stdout
    module = [sys.executable, "-m", "segfoundry", "config", "--conf_files", "none.yaml"]
    done = subprocess.run(module, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stdout == ""
