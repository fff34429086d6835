"""Text tower and tokenizer."""

from __future__ import annotations

import pytest
import torch

from segfoundry.modeling.seem.text.text_towers import LanguageEncoder, normalize
from segfoundry.modeling.seem.text.tokenizer import END, ClipTokenizer, lengths


def make_encoder(causal: bool = True) -> LanguageEncoder:
    torch.manual_seed(0)
    return LanguageEncoder(50, 10, 16, 2, 4, 12, causal).eval()


IDS = torch.tensor([[48, 3, 4, 49, 49, 49, 49], [48, 7, 8, 9, 10, 49, 49]])


@pytest.mark.parametrize("causal", [True, False])
def test_padding_does_not_change_a_text(causal: bool) -> None:
    encoder = make_encoder(causal)
    together = encoder(IDS)[1]
    alone = torch.cat([encoder(row[None, :length])[1] for row, length in zip(IDS, lengths(IDS), strict=True)])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)


def test_causal_tokens_do_not_see_later_ones() -> None:
    encoder = make_encoder()
    other = IDS.clone()
    other[:, 3:] = 49
    torch.testing.assert_close(encoder(IDS)[0][:, :3], encoder(other)[0][:, :3])


def test_text_embedding_is_that_of_the_first_end_token() -> None:
    tokens, texts = make_encoder()(IDS)
    torch.testing.assert_close(texts, torch.stack([tokens[0, 3], tokens[1, 5]]))


def test_similarity_is_a_scaled_cosine_in_float32() -> None:
    encoder = make_encoder()
    queries, texts = torch.randn(2, 3, 12), normalize(torch.randn(4, 12))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = encoder.similarity(queries.bfloat16(), texts)
    assert logits.dtype == torch.float32
    cosine = torch.nn.functional.cosine_similarity(queries.bfloat16().float()[:, :, None], texts, dim=-1)
    torch.testing.assert_close(logits, encoder.logit_scale.exp() * cosine, atol=1e-5, rtol=1e-5)


def test_tokenizer_gives_clip_ids_padded_with_the_end_token() -> None:
    ids = ClipTokenizer(12)(["A photo of a  CAT.", ""])
    assert ids.tolist() == [
        [49406, 320, 1125, 539, 320, 2368, 269, END, END, END, END, END],
        [49406, END, END, END, END, END, END, END, END, END, END, END],
    ]
    assert lengths(ids).tolist() == [8, 2]


def test_tokenizer_cuts_long_texts_and_keeps_the_end_token() -> None:
    ids = ClipTokenizer(5)(["one two three four five six"])
    assert ids.shape == (1, 5)
    assert ids[0, -1] == END and END not in ids[0, :-1]
