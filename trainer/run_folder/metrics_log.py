"""The file ``metrics.jsonl`` of a run folder: one record per line."""

from __future__ import annotations

from pathlib import Path

from ...utils.files import atomic_write_text
from ...utils.json_text import parse_json


def truncate_records(path: Path, step: int) -> None:
    """Removes lines of ``metrics.jsonl`` after ``step``, and a last line cut off by a crash: they are written again."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        try:
            if line.endswith("\n") and parse_json(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue
    atomic_write_text(path, "".join(kept))
