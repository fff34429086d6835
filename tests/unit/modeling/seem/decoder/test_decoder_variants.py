"""The v0 and demo decoders beyond their recorded cases, and decoders by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from segfoundry.modeling.seem.decoder.build_decoder import DECODERS, build_decoder
from segfoundry.modeling.seem.decoder.decoder_demo import SeemDecoderDemo
from segfoundry.modeling.seem.decoder.decoder_prompts import DecoderPrompts, ReferencePrompt
from segfoundry.modeling.seem.decoder.decoder_v0 import SeemDecoderV0
from segfoundry.modeling.seem.decoder.query_decoder import AdapterOptions
from segfoundry.modeling.seem.decoder.query_masks import reference_masks, stroke_masks, text_masks
from segfoundry.modeling.seem.text.text_towers import LanguageEncoder
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.errors import ConfigError

from .....support.tiny_decoder import DEMO_ARCH, inputs, make, squares, strokes, texts

LEFT, RIGHT, NOTHING = squares((10, 10)), squares((20, 70), size=5), squares((-1, -1))


def demo(**options) -> SeemDecoderDemo:
    return make(SeemDecoderDemo, DEMO_ARCH, **options)


def test_variants_have_the_same_parameters() -> None:
    shapes = [
        {name: p.shape for name, p in decoder.state_dict().items()} for decoder in (make(), make(SeemDecoderV0), demo())
    ]
    assert shapes[0] == shapes[1] == shapes[2]


@pytest.mark.parametrize("kind", [SeemDecoderV0, SeemDecoderDemo])
def test_several_objects_at_once_are_refused(kind: type) -> None:
    decoder = make(kind, DEMO_ARCH if kind is SeemDecoderDemo else make().arch)
    with pytest.raises(ValueError, match="one object|1 object"):
        decoder(*inputs(), DecoderPrompts(strokes(squares((1, 1), (9, 9)), LEFT)))


def test_v0_answers_with_a_copy_of_all_queries_that_sees_the_stroke_and_the_memory() -> None:
    decoder = make(SeemDecoderV0)
    plain = decoder(*inputs(), DecoderPrompts(strokes(LEFT, RIGHT)))
    memory = torch.randn(2, 1, 16, 24, generator=torch.Generator().manual_seed(4))
    again = decoder(*inputs(), DecoderPrompts(strokes(LEFT, RIGHT, previous=memory)))
    assert plain.final.spatial.mask_embed.shape == (2, 7, 16)
    assert stroke_masks(plain).shape == (2, 1, 16, 24)
    torch.testing.assert_close(plain.layers[0].spatial.mask_embed, plain.layers[0].mask_embed)
    assert not torch.allclose(plain.final.spatial.mask_embed, plain.final.mask_embed, atol=1e-3)
    assert not torch.allclose(plain.final.spatial.mask_embed, again.final.spatial.mask_embed, atol=1e-3)
    torch.testing.assert_close(plain.masks(), decoder(*inputs()).masks(), atol=1e-4, rtol=1e-4)


def test_v0_padding_of_shorter_strokes_changes_nothing() -> None:
    decoder = make(SeemDecoderV0)
    maps, features, classes = inputs()
    together = decoder(maps, features, classes, DecoderPrompts(strokes(LEFT, RIGHT)))
    alone = decoder([m[:1] for m in maps], features[:1], classes, DecoderPrompts(strokes(LEFT)))
    torch.testing.assert_close(
        together.final.spatial.mask_embed[:1], alone.final.spatial.mask_embed, atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("kind", [SeemDecoderV0, SeemDecoderDemo])
def test_means_are_over_all_points_and_zero_without_any(kind: type) -> None:
    decoder = make(kind, DEMO_ARCH if kind is SeemDecoderDemo else make().arch, max_spatial_len=(2,) * 4)
    few = decoder(*inputs(), DecoderPrompts(strokes(NOTHING, RIGHT)))
    assert (few.positive_means[0] == 0).all()
    whole = make(kind, decoder.arch)(*inputs(), DecoderPrompts(strokes(NOTHING, RIGHT)))
    torch.testing.assert_close(few.positive_means, whole.positive_means)
    assert few.masks().isfinite().all()


def test_no_object_at_all_is_answered_by_no_mask() -> None:
    nothing = torch.zeros(0, 64, 96, dtype=torch.bool)
    output = make(SeemDecoderV0)(*inputs(), DecoderPrompts(strokes(nothing, nothing)))
    assert stroke_masks(output).shape == (2, 0, 16, 24)


def test_demo_object_queries_see_every_kind_of_prompt() -> None:
    decoder = demo()
    maps, features, classes = inputs()
    shown = decoder.reference(decoder.prepare(maps, features), strokes(LEFT, RIGHT))
    kinds = [{"spatial": strokes(LEFT, RIGHT)}, {"text": texts(4, 2)}, {"audio": texts(4, 2)}, {"reference": shown}]
    plain = decoder(maps, features, classes).final.mask_embed
    for prompts in kinds:
        prompted = decoder(maps, features, classes, DecoderPrompts(**prompts)).final.mask_embed
        assert (prompted - plain).abs().max() > 1e-3, list(prompts)


def test_demo_masks_answer_strokes_texts_and_references() -> None:
    decoder = demo()
    maps, features, classes = inputs()
    shown = decoder.reference(decoder.prepare(maps, features), strokes(LEFT, RIGHT))
    output = decoder(maps, features, classes, DecoderPrompts(strokes(LEFT, RIGHT), texts(4, 2), reference=shown))
    for masks in (stroke_masks(output), reference_masks(output)):
        assert masks.shape == (2, 1, 16, 24)
    found = text_masks(output, output.final.embed[:, [3, 5]])
    torch.testing.assert_close(found, output.masks()[:, [3, 5]])


def test_demo_reference_of_one_image_is_looked_for_in_another() -> None:
    decoder = demo()
    maps, features, classes = inputs()
    image = decoder.prepare(maps, features)
    shown = decoder.reference(image.select([0]), strokes(LEFT))
    output = decoder(image.select([1]), None, classes, DecoderPrompts(reference=shown))
    torch.testing.assert_close(output.reference_means, shown.positive_means)
    assert output.positive_means is None
    assert reference_masks(output).isfinite().all()


def test_references_of_different_length_share_a_batch() -> None:
    decoder = demo()
    maps, features, classes = inputs()
    image = decoder.prepare(maps, features)
    parts = [decoder.reference(image.select([i]), strokes(x)) for i, x in enumerate((LEFT, RIGHT))]
    together = decoder(image, None, classes, DecoderPrompts(reference=ReferencePrompt.stack(parts)))
    for i, shown in enumerate(parts):
        alone = decoder(image.select([i]), None, classes, DecoderPrompts(reference=shown))
        torch.testing.assert_close(together.final.mask_embed[[i]], alone.final.mask_embed, atol=1e-5, rtol=1e-4)


def test_demo_gradients_reach_what_strokes_use() -> None:
    decoder = demo()
    decoder(*inputs(), DecoderPrompts(strokes(LEFT, RIGHT), texts(4, 2))).final.mask_embed.square().sum().backward()
    for name, parameter in decoder.named_parameters():
        if name.startswith(("mask_sptial_embed", "pn_indicator")):
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("kind", [SeemDecoderV0, SeemDecoderDemo])
def test_neutral_adapters_change_nothing(kind: type) -> None:
    arch = DEMO_ARCH if kind is SeemDecoderDemo else make().arch
    plain, adapted = make(kind, arch), make(kind, arch, adapters=AdapterOptions())
    adapted.load_state_dict(plain.state_dict(), strict=False)
    prompts = DecoderPrompts(strokes(LEFT, RIGHT), texts(4, 2))
    assert torch.equal(adapted(*inputs(), prompts).masks(), plain(*inputs(), prompts).masks())


def named(name: str, **keys: Any) -> Any:
    """Returns the configuration of v1 with another decoder's name, and other keys of MODEL.DECODER."""
    cfg = load_mapping({"MODEL.NAME": "seem_model_v1"}).cfg.clone()
    cfg.defrost()
    for key, value in {"NAME": name, "DEC_LAYERS": 2, **keys}.items():
        cfg.MODEL.DECODER[key] = value
    return cfg


def test_decoders_are_built_by_name() -> None:
    for name in ("seem_v1", "seem_v0"):
        with torch.device("meta"):
            assert type(build_decoder(named(name), LanguageEncoder(10, 4, 8, 1, 2, 512))) is DECODERS[name]


def test_unknown_decoder_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="seem_v1"):
        build_decoder(named("seem_v2"), LanguageEncoder(10, 4, 8, 1, 2, 512))


def test_demo_needs_its_own_attention_section() -> None:
    with pytest.raises(ConfigError, match="tokens_visual"):
        build_decoder(named("seem_demo"), LanguageEncoder(10, 4, 8, 1, 2, 512))


def test_one_limit_per_level_and_one_for_the_means() -> None:
    with pytest.raises(ConfigError, match="MAX_SPATIAL_LEN.*4 numbers"):
        build_decoder(named("seem_v1", MAX_SPATIAL_LEN=[512, 512, 512]), LanguageEncoder(10, 4, 8, 1, 2, 512))
