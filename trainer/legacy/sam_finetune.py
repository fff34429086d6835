"""The original command line for fine-tuning SAM on cables."""

from __future__ import annotations

from ...modeling.sam.config import SamConfig
from ...utils.config.plain import Plain
from ...utils.config.values import convert_value
from .table import Flag, Given, LegacyCommand, Values, require

_DATA_KEYS = ("SAM.DLO.TRAIN", "DATASETS.TRAIN")
_ENVIRONMENT = {
    "DEBUG_ON": "'evaluate' writes overlays, and 'validate FILE --report DIR' shows training images with their masks",
    "BUSY_TEST_ON": "TRAIN.EVAL_EVERY 20 and SOLVER.MAX_ITERS 1000 do the same; 'predict' writes the masks",
}


def _batch(text: str) -> Values:
    return {"TRAIN.BATCH_SIZE_TOTAL": text, "TEST.BATCH_SIZE_TOTAL": str(max(1, convert_value(Plain(text), int) // 4))}


def _all_modules(_: str) -> Values:
    return {f"SAM.TRAIN.{part}": "full" for part in ("IMAGE_ENCODER", "PROMPT_ENCODER", "MASK_DECODER")}


def _rules(given: Given) -> tuple[Values, list[str]]:
    """Returns the keys that follow from several flags, and notices."""
    text = "name the data set file (section `dataset:` with train and test), e.g. --config data.yaml"
    require(given, "--config", _DATA_KEYS, text)
    values: dict[str, str] = {}
    notices = []
    if "lr" not in given.flags and not given.named("SOLVER.BASE_LR"):
        rate = given.resolved.cfg.SOLVER.BASE_LR
        notices.append(f"without --lr the learning rate is {rate:g} (SOLVER.BASE_LR); the original stops there")
    micro = _number(given, "virtual_batch_size", 1)
    if micro > 1 and not given.named("TRAIN.EVAL_EVERY"):
        interval = _number(given, "test_interval", 200)
        values["TRAIN.EVAL_EVERY"] = str(max(1, interval // micro))
        notices.append(
            f"--test_interval {interval} counts batches, of which --virtual_batch_size puts {micro} into a step: "
            f"evaluation every {values['TRAIN.EVAL_EVERY']} steps"
        )
    if "full_tune" in given.flags:
        notices.append("--full_tune trains the whole network (SAM.TRAIN); the original trained its mask decoder only")
    notices += [f"{name} has no effect: {instead}" for name, instead in _ENVIRONMENT.items() if name in given.environ]
    return values | _base_file(given, notices), notices


def _number(given: Given, flag: str, default: int) -> int:
    return max(1, convert_value(Plain(given.flags[flag]), int)) if flag in given.flags else default


def _base_file(given: Given, notices: list[str]) -> dict[str, str]:
    """The base file is that of vit_h: another network, or weights of the user's own, go without it."""
    sam = given.resolved.cfg.SAM
    if given.named("SAM.CHECKPOINT") or sam.CHECKPOINT == "":
        return {}
    if given.resolved.cfg.WEIGHT:
        return {"SAM.CHECKPOINT": ""}
    if given.named("SAM.TYPE"):
        notices.append(
            f"SAM.TYPE is {sam.TYPE}, so {sam.CHECKPOINT} is not loaded: training starts from RANDOM WEIGHTS. "
            "Name a file of that type: -- --overrides SAM.CHECKPOINT FILE"
        )
        return {"SAM.CHECKPOINT": ""}
    return {}


def _remarks(given: Given, cfg: SamConfig) -> list[str]:
    if "test_interval" in given.flags and not cfg.SAM.DLO.TEST and not cfg.DATASETS.TEST:
        return ["--test_interval has no effect: there is no evaluation data (section `test` of the data set file)"]
    return []


COMMAND = LegacyCommand(
    name="sam-finetune",
    text="Fine-tune SAM on cables with the flags of the original script.",
    examples="""
  python entry.py legacy sam-finetune --lr 1e-4 --epoch_num 500 --batch_size 16 --save_interval 50 \\
      --test_interval 100 --exp_name NAME --config data.yaml --alpha 0.7
  python entry.py legacy sam-finetune -e 10 -n small -c data.yaml --no_log -- --dry-run \\
      --overrides SAM.TYPE vit_b SAM.CHECKPOINT sam_vit_b_01ec64.pth

The network is vit_h from ckpts/base_model/sam_vit_h_4b8939.pth; results go to exp/NAME.""",
    conf_files=("configs/sam/dlo_vit_h.yaml",),
    flags=(
        Flag("--lr", "peak learning rate", ("SOLVER.BASE_LR",), type=float, default="1e-4; original: none"),
        Flag("--epoch_num", "epochs", ("SOLVER.MAX_NUM_EPOCHS",), short="-e", type=int, default="10"),
        Flag(
            "--batch_size", "images of a batch; evaluation takes a quarter", short="-b", type=int, default="16",
            keys=("TRAIN.BATCH_SIZE_TOTAL", "TEST.BATCH_SIZE_TOTAL"), sets=_batch,
        ),
        Flag("--virtual_batch_size", "batches of a step", ("GRADIENT_ACCUMULATE_STEP",), type=int, default="1"),
        Flag(
            "--save_interval", "epochs between checkpoints", ("CHECKPOINT.EVERY_EPOCHS",),
            short="-s", type=int, default="2",
        ),
        Flag("--test_interval", "batches between evaluations", ("TRAIN.EVAL_EVERY",), type=int, default="200"),
        Flag(
            "--alpha", "weight of cable pixels in the focal loss, above 0 and below 1", ("SAM.LOSS.FOCAL_ALPHA",),
            type=float, default="0.85",
        ),
        Flag(
            "--exp_name", "folder of the run inside exp/", ("EXP_NAME",),
            short="-n", default="test", absent={"EXP_NAME": "test"},
        ),
        Flag("--config", "data set file", ("SAM.DLO.TRAIN", "SAM.DLO.TEST"), short="-c", is_file=True),
        Flag("--device", "cuda, cuda:N or cpu", ("DEVICE",), default="cuda if there is one"),
        Flag(
            "--no_log", "nothing goes to Weights & Biases; without it WANDB True", type=None,
            sets=lambda _: {"WANDB": "False"}, absent={"WANDB": "True"},
        ),
        Flag(
            "--full_tune", "train all parts", type=None, sets=_all_modules,
        ),
        Flag("--init_param", "start from a new mask decoder", ("SAM.REINIT_MASK_DECODER",), type=None),
        Flag(
            "--no_inv", "train on the cables instead of the background", type=None,
            sets=lambda _: {"SAM.DLO.INVERT_TARGET": "False"},
        ),
    ),
    rules=_rules,
    remarks=_remarks,
)  # fmt: skip
