import pytest
import torch

from segfoundry.modeling.seem.text import class_embeddings
from segfoundry.modeling.seem.text.class_embeddings import ClassEmbeddings
from segfoundry.modeling.seem.text.phrases import encode_phrases, text_groups
from segfoundry.modeling.seem.text.text_towers import LanguageEncoder

from .....support.standin_tokenizer import StandInTokenizer


@pytest.fixture
def embeddings():
    torch.manual_seed(0)
    return ClassEmbeddings(LanguageEncoder(97, 12, 16, 1, 2, 8), StandInTokenizer(97, 12))


def test_sentences_have_tokens_from_start_to_end(embeddings):
    texts = ["the red ball", "cup", "", "the red ball"]
    learning = embeddings.sentences(texts)
    assert [len(s.tokens) for s in learning] == [5, 3, 2, 5]
    for sentence in learning:
        torch.testing.assert_close(sentence.tokens[-1], sentence.embed)
    with torch.no_grad():
        kept = embeddings.sentences(texts)
    for one, other in zip(kept, learning, strict=True):
        torch.testing.assert_close(one.tokens, other.tokens)
        assert not one.tokens.requires_grad and other.tokens.requires_grad
    assert embeddings.sentences([]) == []


def test_a_frozen_tower_runs_once_per_sentence_and_keeps_the_newest(embeddings, monkeypatch):
    monkeypatch.setattr(class_embeddings, "_MOST_SENTENCES", 2)
    embeddings.encoder.requires_grad_(False)
    calls = []
    embeddings.encoder.register_forward_hook(lambda *_: calls.append(1))
    first = embeddings.sentences(["a", "b", "c"])
    assert len(first) == 3 and len(calls) == 1
    assert embeddings.sentences(["c", "b"])[0] is first[2] and len(calls) == 1
    again = embeddings.sentences(["a"])  # dropped, computed anew to the same bits
    assert len(calls) == 2 and torch.equal(again[0].tokens, first[0].tokens)
    with torch.no_grad():
        embeddings.encoder.lang_proj.mul_(2)
    torch.testing.assert_close(embeddings.sentences(["c"])[0].tokens, 2 * first[2].tokens)


def test_tokens_of_an_image_follow_each_other(embeddings):
    texts = [["cup", "red ball", "cup"], [], ["x"]]
    for once, count in ((True, 3 + 4), (False, 3 + 4 + 3)):
        phrases = encode_phrases(embeddings, texts, once=once)
        assert phrases.prompt.valid.sum(dim=1).tolist() == [count, 0, 3]
        assert phrases.prompt.tokens.shape == (3, count, 8)
        assert [len(embed) for embed in phrases.embeds] == [3, 0, 1]
        cup, ball, _ = embeddings.sentences(texts[0])
        torch.testing.assert_close(phrases.prompt.tokens[0, :7], torch.cat([cup.tokens, ball.tokens]))


def test_equal_texts_form_a_group():
    assert text_groups(["a", "b", "a", "A"], torch.device("cpu")).tolist() == [0, 1, 0, 2]
