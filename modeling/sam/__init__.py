"""Segment Anything. What its users know by name is loaded, and torch with it, when it is first asked for."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .everything.mask_generator import SamAutomaticMaskGenerator as SamAutomaticMaskGenerator
    from .network.sam import Sam as Sam
    from .prompting.sam_model_registry import sam_model_registry as sam_model_registry
    from .prompting.sam_predictor import SamPredictor as SamPredictor

_HOMES = {
    "Sam": "network.sam",
    "SamAutomaticMaskGenerator": "everything.mask_generator",
    "SamPredictor": "prompting.sam_predictor",
    "sam_model_registry": "prompting.sam_model_registry",
}


def __getattr__(name: str) -> Any:
    """Loads a public name from the module that defines it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """Lists the public names too."""
    return sorted([*globals(), *_HOMES])
