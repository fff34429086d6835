"""Where the product's own files lie, in a checkout as in an installed wheel."""

from pathlib import Path

import segfoundry


def product_root() -> Path:
    """Returns the folder that holds ``configs``, ``modeling``, ``datasets``, ``trainer`` and ``utils``."""
    for base in segfoundry.__path__:
        if (Path(base) / "modeling").is_dir():
            return Path(base)
    raise RuntimeError(f"no product folder among {list(segfoundry.__path__)}")


def configs_root() -> Path:
    """Returns the folder with the shipped YAML files (``<arch>/<name>.yaml``)."""
    return product_root() / "configs"
