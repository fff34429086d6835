"""Import root of Segfoundry: gives the code folders of a checkout the name ``segfoundry.*``."""

from pathlib import Path as _Path
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

if _TYPE_CHECKING:
    from segfoundry.trainer.prediction.predictor import Predictor as Predictor

__version__ = "0.1.0"

_HERE = _Path(__file__).resolve().parent
_CHECKOUT = _HERE.parents[1]
if not (_HERE / "modeling").is_dir() and (_CHECKOUT / "entry.py").is_file():
    # In a wheel the code folders lie beside this file, in a checkout links to them do. Where a system cannot make
    # links, the folders are found beside entry.py.
    __path__.append(str(_CHECKOUT))


def __getattr__(name: str) -> _Any:
    """Loads ``segfoundry.Predictor``, and torch with it, when it is first asked for."""
    if name == "Predictor":
        from segfoundry.trainer.prediction.predictor import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Lists ``Predictor`` too."""
    return sorted([*globals(), "Predictor"])
