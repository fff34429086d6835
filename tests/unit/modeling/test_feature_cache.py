"""Embeddings on the disk: the same numbers, only the missing ones computed, names that follow from what matters."""

import hashlib
import logging
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import torch

from segfoundry.modeling.feature_cache import FILE_OVERHEAD, FeatureCache, WeightDigest
from segfoundry.modeling.finetune import apply_policy
from segfoundry.modeling.sam.model import SamSegmenter, feature_cache
from segfoundry.modeling.sam.training_tasks.dlo import DloTask
from segfoundry.modeling.sam.training_tasks.loss_settings import LossSettings
from segfoundry.modeling.sam.tuning import TuningSettings
from segfoundry.utils.draws import Draws

from ...support.tiny_sam import TINY, drawn_batch, recorded_sam

SIZES = [(36, 64), (64, 40), (20, 64)]
ENTRY = 16 * 8 * 8 * 4 + FILE_OVERHEAD  # bytes of a file at most


def segmenter(folder=None, max_bytes=10**8):
    torch.manual_seed(0)
    network, task = recorded_sam(TINY), DloTask(LossSettings())
    cache = None if folder is None else feature_cache(network, folder, max_bytes)
    tuning = TuningSettings(ways={"mask_decoder": "full"}, unreached=task.unreached)
    model = SamSegmenter(network, task, tuning=tuning, cache=cache)
    apply_policy(model, model.train_policy())
    return model


@pytest.fixture
def computed(monkeypatch):
    """Counts the images that go through an image encoder."""
    counts = []
    embed = SamSegmenter.embed
    monkeypatch.setattr(SamSegmenter, "embed", lambda self, x: counts.append(len(x)) or embed(self, x))
    return counts


def trained(model, steps=4):
    """Returns losses and weights of a short training."""
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    for step in range(steps):
        terms = model.train()(drawn_batch(SIZES, seed=step % 2), rng=Draws(0, step))
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        losses.append(sum(terms.values()).item())
    return losses, model.state_dict()


def test_a_cached_run_equals_the_uncached_one(tmp_path, computed):
    plain_losses, plain = trained(segmenter())
    computed.clear()
    cached_losses, cached = trained(segmenter(tmp_path))
    assert computed == [1] * 6  # two different batches, each computed once
    assert cached_losses == pytest.approx(plain_losses, rel=1e-5)
    for name, tensor in plain.items():
        torch.testing.assert_close(cached[name], tensor, rtol=1e-5, atol=1e-5, msg=name)
    computed.clear()
    assert trained(segmenter(tmp_path))[0] == cached_losses
    assert not computed


def test_only_missing_images_are_computed(tmp_path, computed):
    model = segmenter(tmp_path).eval()
    batch = drawn_batch(SIZES)
    first = model(drawn_batch(SIZES[:2]))
    assert computed == [1, 1]
    found = model(batch)
    assert computed == [1, 1, 1]
    expected = segmenter().eval()(batch)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.foreground.probability, other.foreground.probability, atol=1e-5)
    np.testing.assert_allclose(found[0].foreground.probability, first[0].foreground.probability, atol=1e-5)


def test_an_image_twice_in_a_batch_is_computed_once(tmp_path, computed):
    model, batch = segmenter(tmp_path).eval(), drawn_batch(SIZES[:1] * 2)
    batch.images[1] = batch.images[0]
    embeddings = model.encode(batch).embeddings
    assert computed == [1]
    assert torch.equal(embeddings[0], embeddings[1])


def test_an_embedding_does_not_depend_on_what_else_was_missing(tmp_path):
    batch = drawn_batch(SIZES)
    whole = segmenter(tmp_path / "whole").eval().encode(batch).embeddings
    other = segmenter(tmp_path / "parts").eval()
    other.encode(drawn_batch(SIZES[:1]))
    assert torch.equal(other.encode(batch).embeddings, whole)


def test_padding_of_the_batch_does_not_matter(tmp_path, computed):
    model, batch = segmenter(tmp_path).eval(), drawn_batch(SIZES)
    model.encode(batch)
    batch.images[0, :, 36:] = 99
    model.encode(batch)
    assert computed == [1] * 3


def test_names_follow_from_image_size_weights_and_arithmetic(tmp_path):
    model, batch = segmenter(tmp_path), drawn_batch(SIZES)
    names = lambda sizes=batch.image_sizes: model.cache.names(batch.images, sizes)  # noqa: E731
    first = names()
    assert len(set(first)) == 3 and first == names()
    assert names([(36, 63), *batch.image_sizes[1:]])[0] != first[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not set(names()) & set(first)
    batch.images[0, 0, 0, 0] += 1
    assert names()[0] != first[0] and names()[1:] == first[1:]
    with torch.no_grad():
        model.image_encoder.pos_embed.add_(1e-3)
    assert not set(names()) & set(first)


def test_the_cache_of_any_encoder_names_its_own_key_and_keeps_settings_apart(tmp_path, caplog):
    encoder = torch.nn.Linear(3, 5)
    images, sizes = torch.randint(0, 256, (2, 3, 4, 6), dtype=torch.uint8), [(4, 6), (4, 6)]
    counts = []

    def compute(places):
        counts.append(list(places))
        return encoder(images[places].float().mean((2, 3)))

    expected = compute([0, 1]).detach()
    counts.clear()
    with torch.no_grad(), caplog.at_level(logging.WARNING):
        small = FeatureCache(encoder, tmp_path, 5 * 4 + FILE_OVERHEAD + 10, key="FLOW.CACHE_GB", setting="fine")
        torch.testing.assert_close(small(images, sizes, compute), expected)
        torch.testing.assert_close(small(images, sizes, compute), expected)
    assert counts == [[0], [1], [1]]
    assert "larger than FLOW.CACHE_GB" in caplog.text
    other = FeatureCache(encoder, tmp_path, 10**6, key="FLOW.CACHE_GB", setting="coarse")
    assert not set(other.names(images, sizes)) & set(small.names(images, sizes))


def test_entries_of_sam_keep_their_names(tmp_path):
    model, batch = segmenter(tmp_path), drawn_batch(SIZES)
    setting = f"{WeightDigest(model.image_encoder)()} {model.image_size} fp32"
    digest = hashlib.sha256(f"{setting} 36x64 ".encode())
    digest.update(batch.images[0, :, :36, :64].contiguous().numpy().tobytes())
    assert model.cache.names(batch.images, batch.image_sizes)[0] == digest.hexdigest()


def test_digest_follows_changes_in_place_and_loading():
    layer = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    digest = WeightDigest(layer)
    first, state = digest(), {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    with torch.no_grad():
        layer[0].bias[0] += 1
    changed = digest()
    layer.load_state_dict(state)
    assert digest() == first != changed
    layer(torch.randn(4, 3))  # moves the averages of batch normalisation
    assert digest() != first
    assert WeightDigest(torch.nn.Sequential(torch.nn.Linear(3, 3)))() != first


def test_digest_is_computed_once_per_weights(tmp_path, monkeypatch):
    model, batch = segmenter(tmp_path).eval(), drawn_batch(SIZES)
    model.encode(batch)
    monkeypatch.setattr(torch.Tensor, "contiguous", lambda self: pytest.fail("weights were read again"))
    model.cache._digest()


def test_what_does_not_fit_is_computed_each_time_and_said_once(tmp_path, computed, caplog):
    model, batch = segmenter(tmp_path, max_bytes=2 * ENTRY + 10).eval(), drawn_batch(SIZES)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            model.encode(batch)
    assert computed == [1] * 5  # the first two stay: no entry pushes out one that the next epoch needs
    assert sum("SAM.CACHE_GB" in record.getMessage() for record in caplog.records) == 1


def test_left_overs_of_other_weights_make_room(tmp_path):
    for seed in range(6):
        model = segmenter(tmp_path, max_bytes=4 * ENTRY).eval()
        with torch.no_grad():
            model.image_encoder.pos_embed.add_(seed)
        model.encode(drawn_batch(SIZES))
    assert sum(path.stat().st_size for path in tmp_path.glob("*.array")) <= 4 * ENTRY


def test_a_damaged_entry_is_computed_again(tmp_path, computed):
    model, batch = segmenter(tmp_path).eval(), drawn_batch(SIZES)
    before = model.encode(batch).embeddings
    entry = next(tmp_path.glob("*.array"))
    entry.write_bytes(entry.read_bytes()[:-7])
    torch.testing.assert_close(model.encode(batch).embeddings, before, rtol=1e-5, atol=1e-5)
    assert computed == [1] * 4


def _encode(folder):
    torch.set_num_threads(1)
    return segmenter(folder).eval().encode(drawn_batch(SIZES)).embeddings.numpy()


@pytest.mark.slow
def test_writers_at_the_same_time(tmp_path):
    with ProcessPoolExecutor(3, multiprocessing.get_context("fork")) as pool:
        results = list(pool.map(_encode, [tmp_path] * 6))
    for result in results:
        np.testing.assert_allclose(result, results[0], atol=1e-5)
    assert len(list(tmp_path.glob("*.array"))) == len(SIZES)
