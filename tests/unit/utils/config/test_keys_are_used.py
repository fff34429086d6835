"""A key is read by some code, or it says that it has no effect."""

import ast

import pytest

from segfoundry.modeling.sam.everything.mask_generator import EverythingSettings
from segfoundry.modeling.sam.network.build_sam import CustomSize
from segfoundry.utils.config.architectures import architectures
from segfoundry.utils.paths import product_root

# read under a name that is put together from parts
COMPOSED = {f"{task}{term}_WEIGHT" for task in "SG" for term in ("CLASS", "MASK", "DICE")}
COMPOSED |= {f"TOP_{task}_LAYERS" for task in ("MASK", "SPATIAL", "GROUNDING")}
# sections that become a class with the same names: too many or too few would be errors
COMPOSED |= {name.upper() for c in (EverythingSettings, CustomSize) for name in c.__dataclass_fields__}


def names_in_code() -> set[str]:
    """Returns all attribute names and string constants of the product."""
    found = set()
    for folder in ("modeling", "datasets", "trainer", "utils"):
        for path in (product_root() / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute):
                    found.add(node.attr)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.add(node.value)
    return found


@pytest.mark.parametrize("arch", sorted(architectures()))
def test_every_key_is_read_or_says_why_not(arch):
    known = names_in_code() | COMPOSED
    unread = [
        leaf.name
        for leaf in architectures()[arch].leaves.values()
        if leaf.no_effect is None
        and not known & {leaf.name, leaf.name.rsplit(".", 1)[-1]}
        and (leaf.choices is None or len(leaf.choices) > 1)  # a single choice only checks what a file says
    ]
    assert unread == []
