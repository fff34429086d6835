"""What a frozen encoder computes of images, kept on the disk: by image, weights and arithmetic.

Letters in shapes: B images, "..." what the encoder gives for one, e.g. channels, rows and columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..utils.array_cache import ArrayCache
from ..utils.logging import get_logger

log = get_logger(__name__)

# The folder is looked through, to remove old files, after each such share of its bound has been written.
TRIM_SHARE = 0.05
# Bytes of a file beside the numbers, or a few more.
FILE_OVERHEAD = 256

Size = tuple[int, int]


class FeatureCache:
    """Embeddings by content: whoever asks for the same image, weights and arithmetic gets the same numbers.

    An entry's name is a digest of the 8-bit pixels that enter the network, their size, the encoder's weights, its
    setting and the arithmetic. When what one process adds outgrows the bound, it stops adding: removing old entries
    for new ones would throw away, in every epoch, what the next one needs. Images are encoded one at a time: the
    numbers then depend on nothing else that happened to be missing, and a run that was killed stays exact to the bit.

    Args:
        encoder: the encoder, whose weights count.
        folder: where the entries lie (``utils.array_cache.cache_folder``); created when needed, shared by any number of
            processes.
        max_bytes: bound on the folder's size.
        key: configuration key of that bound, in GB, for the message when it is reached.
        setting: what else decides the numbers, e.g. the side that images are padded to.
    """

    def __init__(self, encoder: nn.Module, folder: Path, max_bytes: int, *, key: str, setting: str = "") -> None:
        self.arrays = ArrayCache(folder, max_bytes)
        self._digest = WeightDigest(encoder)
        self._key = key
        self._setting = setting
        self._added = 0
        self._added_since_trim = 0
        self._full = False

    def __call__(self, images: Tensor, sizes: list[Size], compute: Callable[[Sequence[int]], Tensor]) -> Tensor:
        """Returns the embeddings (B, ...) float32 of images, on their device.

        Args:
            images: (B, 3, h, w) uint8 RGB, padded.
            sizes: (height, width) of each image without padding.
            compute: returns the embeddings of the images at some places, for those that are not there.
        """
        names = self.names(images, sizes)
        known = [self.arrays.get(name) for name in names]
        # The same image twice in a batch is computed once.
        missing = {name: place for place, (name, array) in enumerate(zip(names, known, strict=True)) if array is None}
        new = {name: compute([place])[0].float() for name, place in missing.items()}
        for name, embedding in new.items():
            self._add(name, embedding.cpu().numpy())
        rows = [
            new[name] if array is None else torch.from_numpy(array).to(images.device)
            for name, array in zip(names, known, strict=True)
        ]
        return torch.stack(rows)

    def names(self, images: Tensor, sizes: list[Size]) -> list[str]:
        """Returns the names of the images' entries; arguments as those of a call."""
        device = images.device.type
        arithmetic = str(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else "fp32"
        setting = f"{self._digest()} {self._setting} {arithmetic}"
        names = []
        for image, (height, width) in zip(images.cpu(), sizes, strict=True):
            digest = hashlib.sha256(f"{setting} {height}x{width} ".encode())
            digest.update(np.ascontiguousarray(image[:, :height, :width].numpy()).data)
            names.append(digest.hexdigest())
        return names

    def _add(self, name: str, array: np.ndarray) -> None:
        if self._full:
            return
        size = array.nbytes + FILE_OVERHEAD
        if self._added + size > self.arrays.max_bytes:
            self._full = True
            log.warning(
                "%s: the embeddings of these images are larger than %s (%.3g GB); those of the rest are "
                "computed each time",
                self.arrays.folder,
                self._key,
                self.arrays.max_bytes / 1e9,
            )
            return
        self.arrays.put(name, array)
        self._added += size
        self._added_since_trim += size
        if self._added_since_trim > TRIM_SHARE * self.arrays.max_bytes:
            self._added_since_trim = 0
            self.arrays.trim()


class WeightDigest:
    """Digest of all parameters and buffers of a module, computed again only when one has changed.

    Args:
        module: the module.
    """

    def __init__(self, module: nn.Module) -> None:
        # Held in a list: the owner is part of the network itself and must not become its own submodule.
        self._module = [module]
        self._version: tuple[tuple[int, int], ...] = ()
        self._digest = ""

    def __call__(self) -> str:
        """Returns the SHA-256 digest as hexadecimal digits."""
        state = self._module[0].state_dict()
        version = tuple((tensor.data_ptr(), tensor._version) for tensor in state.values())
        if version != self._version:
            digest = hashlib.sha256()
            for name, tensor in state.items():
                digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
                digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
            self._version, self._digest = version, digest.hexdigest()
        return self._digest
