"""Import root of Segfoundry: gives the code folders of a checkout the name ``segfoundry.*``."""

from pathlib import Path as _Path

__version__ = "0.1.0"

_HERE = _Path(__file__).resolve().parent
_CHECKOUT = _HERE.parents[1]
if not (_HERE / "modeling").is_dir() and (_CHECKOUT / "entry.py").is_file():
    # In a checkout the code folders lie beside entry.py; in a wheel they lie beside this file.
    __path__.append(str(_CHECKOUT))
