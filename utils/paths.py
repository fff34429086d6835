"""Paths that users write, and where the product's own files lie, in a checkout as in an installed wheel."""

import os
from pathlib import Path


def user_path(text: str | os.PathLike[str]) -> Path:
    """Returns a path as users write it, ``~`` and ``~name`` being home folders; that of an unknown user stays as it is.

    ``Path.expanduser`` raises a RuntimeError there.
    """
    return Path(os.path.expanduser(text))


def product_root() -> Path:
    """Returns the folder that holds ``configs``, ``modeling``, ``datasets``, ``trainer`` and ``utils``."""
    return Path(__file__).resolve().parents[1]


def configs_root() -> Path:
    """Returns the folder with the shipped YAML files (``<arch>/<name>.yaml``)."""
    return product_root() / "configs"
