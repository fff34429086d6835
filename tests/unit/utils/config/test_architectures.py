"""Keys belong to an architecture; the schema itself is consistent."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from segfoundry.utils.config import architectures as module
from segfoundry.utils.config import engine, sections
from segfoundry.utils.config.architectures import recognise
from segfoundry.utils.config.document import document
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.config.schema import key, section
from segfoundry.utils.config.values import check_range, convert_value
from segfoundry.utils.errors import ConfigError
from segfoundry.utils.paths import configs_root, product_root

GOLDENS = Path(__file__).parents[3] / "goldens"


@dataclass(frozen=True, kw_only=True)
class Inner:
    SIZE: int = key(3, "Size in metres.", minimum=1)


@dataclass(frozen=True, kw_only=True)
class Model(sections.Model):
    NAME: str = key("", "Name.")
    WINGS: int = key(2, "Number of wings.")


@dataclass(frozen=True, kw_only=True)
class BirdConfig(sections.Shared):
    MODEL: Model = section(Model)
    BIRD: Inner = section(Inner)


class Bird(module.Architecture[BirdConfig]):
    model_names = ("bird_v1",)
    config = BirdConfig

    def tiny(self):
        return {"MODEL.NAME": "bird_v1"}


@pytest.fixture
def two_architectures(monkeypatch):
    known = {**module.architectures(), "bird": Bird("bird")}
    monkeypatch.setattr(module, "architectures", lambda: known)
    monkeypatch.setattr(engine, "architectures", lambda: known)


def test_each_name_mounts_its_own_section(two_architectures):
    resolved = load_mapping({"MODEL.NAME": "bird_v1", "BIRD.SIZE": 4, "MODEL.WINGS": 3})
    assert resolved.arch == "bird" and resolved.cfg.BIRD.SIZE == 4 and "COCO" not in resolved.cfg


@pytest.mark.parametrize("name", ["BIRD.SIZE", "BIRD.SISE", "MODEL.WINGS"])
def test_a_key_of_another_architecture_says_so(two_architectures, name):
    with pytest.raises(ConfigError, match=f"{name}.*belongs to the architecture 'bird'.*chooses 'seem'"):
        load_mapping({"MODEL.NAME": "seem_model_v1", name: 4})


@pytest.mark.parametrize("arch", sorted(module.architectures()))
def test_the_schema_is_consistent(arch):
    for leaf in module.architectures()[arch].leaves.values():
        assert leaf.text or leaf.no_effect, f"{leaf.name} has no explanation"
        if not leaf.is_mapping and leaf.name != "MODEL.NAME":
            assert convert_value(leaf.default, leaf.type) == leaf.default, leaf.name
            check_range(leaf.default, leaf)


@pytest.mark.parametrize("arch", sorted(module.architectures()))
def test_the_smallest_configuration_is_valid(arch):
    resolved = load_mapping(module.architectures()[arch].tiny())
    assert resolved.arch == arch and resolved.notices == []


def test_the_key_reference_is_current():
    page = product_root() / "docs" / "configuration.md"
    assert page.read_text(encoding="utf-8") == document(), (
        "run: python entry.py config --document > docs/configuration.md"
    )


@pytest.mark.parametrize("name", ["focall", "focalt"])
def test_published_weights_are_recognised_by_their_shapes(name):
    shapes = json.loads((GOLDENS / "seem_state_dicts" / f"{name}.json").read_text())
    config = recognise({key: tuple(shape) for key, shape in shapes.items()})
    assert config == configs_root() / "seem" / f"{name}_unicl_lang_v1.yaml" and config.is_file()
    shapes["backbone.patch_embed.proj.weight"] = [16, 3, 7, 7]
    assert recognise(shapes) is None and recognise({}) is None
