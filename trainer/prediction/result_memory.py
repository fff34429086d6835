"""How much memory results at the size of the image take, known before the network runs."""

from __future__ import annotations

from collections.abc import Sequence

from ...datasets.tasks.registry import all_result_tasks
from ...utils.config.sections import Shared
from ...utils.errors import UserError
from ...utils.files import human_size

_BANDS = 600_000_000  # the resized mask logits of one band of rows, and what is computed from them


def result_memory(cfg: Shared, size: tuple[int, int], tasks: Sequence[str], images: int = 1) -> int:
    """Returns the bytes that computing results takes at most, beside the network's own.

    Args:
        cfg: configuration (TEST).
        size: (height, width) of each image.
        tasks: names of tasks.
        images: images of this size in one batch.
    """
    per_pixel = sum(task.memory(cfg.TEST) for task in all_result_tasks() if task.name in tasks)
    return int(images * size[0] * size[1] * per_pixel) + _BANDS


def largest_batch(cfg: Shared, size: tuple[int, int], tasks: Sequence[str], wanted: int) -> int:
    """Returns how many images, at most ``wanted`` and at least 1, stay below TEST.MAX_RESULT_GB together."""
    spare = cfg.TEST.MAX_RESULT_GB * 1e9 - _BANDS
    each = result_memory(cfg, size, tasks) - _BANDS
    return max(1, min(wanted, int(spare // each) if each else wanted))


def check_result_memory(cfg: Shared, size: tuple[int, int], tasks: Sequence[str], images: int = 1) -> None:
    """Refuses images whose results would need more than TEST.MAX_RESULT_GB; arguments as :func:`result_memory`.

    Raises:
        UserError: they would; names the keys that help.
    """
    needed = result_memory(cfg, size, tasks, images)
    if needed > cfg.TEST.MAX_RESULT_GB * 1e9:
        advice = [task.memory_advice for task in all_result_tasks() if task.name in tasks and task.memory_advice]
        raise UserError(
            f"the {', '.join(tasks)} results of {_count(images)} of {size[1]} x {size[0]} pixels would take about "
            f"{human_size(needed)} of memory, the limit is {cfg.TEST.MAX_RESULT_GB:g} GB "
            f"(scale the image down, or raise TEST.MAX_RESULT_GB{''.join(f'; {text}' for text in advice)})"
        )


def check_mask_memory(cfg: Shared, size: tuple[int, int], masks: int) -> None:
    """Refuses ``masks`` masks (H, W) bool that would need more than TEST.MAX_RESULT_GB.

    Raises:
        UserError: they would.
    """
    needed = masks * size[0] * size[1]
    if needed > cfg.TEST.MAX_RESULT_GB * 1e9:
        raise UserError(
            f"{masks} masks of {size[1]} x {size[0]} pixels would take {human_size(needed)} of memory, the limit is "
            f"{cfg.TEST.MAX_RESULT_GB:g} GB (scale the image down, or raise TEST.MAX_RESULT_GB)"
        )


def _count(images: int) -> str:
    return "an image" if images == 1 else f"{images} images"
