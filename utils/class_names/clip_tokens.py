"""What CLIP's tokenizer makes of a text, without torch: for checks of names before anything heavy is loaded.

The network's own tokenizer (``modeling/seem/text/tokenizer.py``) also mends garbled characters, which is left out here.
"""

from __future__ import annotations

import gzip
import html
import importlib.util
import re
import unicodedata
from functools import lru_cache
from pathlib import Path

MOST_TOKENS = 75
"""Tokens that CLIP's text encoder reads of a text, start and end left out."""

# How the tokenizer divides a text: no token reaches over the end of a piece, and spaces between them do not count.
_PIECE = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|[^\W_]|(?:[^\s\w]|_)+")
_PLAIN_QUOTES = str.maketrans("‘’‛“”‟", "'''\"\"\"")
_LONGEST_TOKEN = 64  # characters
_MERGES = 48894


def clip_tokens(text: str) -> tuple[str, ...]:
    """Returns the tokens that the text encoder reads, as texts: at most the first 75.

    Where even one token per byte is not too many, the pieces of the text stand for its tokens: they are equal for the
    same texts.
    """
    pieces = _PIECE.findall(_cleaned(text)[: _LONGEST_TOKEN * MOST_TOKENS])
    if sum(len(piece.encode("utf-8")) for piece in pieces) <= MOST_TOKENS:
        return tuple(pieces)
    tokens: list[str] = []
    for piece in pieces:
        tokens += _merged(piece)
        if len(tokens) >= MOST_TOKENS:
            break
    return tuple(tokens[:MOST_TOKENS])


def _cleaned(text: str) -> str:
    """Returns a text in small letters, composed, without HTML entities, curly quotes and letters of other widths."""
    text = html.unescape(html.unescape(text.encode("utf-8", "replace").decode("utf-8")))
    text = unicodedata.normalize("NFC", text).translate(_PLAIN_QUOTES)
    changed = {}
    for sign in set(text):
        if unicodedata.decomposition(sign).startswith(("<wide>", "<narrow>")):
            changed[ord(sign)] = unicodedata.normalize("NFKC", sign)
        elif unicodedata.category(sign) in ("No", "Nl"):  # a number to the tokenizer, a letter to the pattern
            changed[ord(sign)] = f" {sign} "
    return text.translate(changed).lower()


@lru_cache(maxsize=4096)
def _merged(piece: str) -> tuple[str, ...]:
    """Returns the tokens of a piece: bytes, joined pair by pair in the order of the vocabulary."""
    word = [_byte_signs()[byte] for byte in piece.encode("utf-8")]
    word[-1] += "</w>"
    ranks = _ranks()
    while len(word) > 1:
        best = min(zip(word, word[1:], strict=False), key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        joined: list[str] = []
        for sign in word:
            if joined and (joined[-1], sign) == best:
                joined[-1] += sign
            else:
                joined.append(sign)
        word = joined
    return tuple(word)


@lru_cache(maxsize=1)
def _byte_signs() -> tuple[str, ...]:
    """Returns the character that stands for each byte in the vocabulary file."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in visible]
    signs = {byte: chr(byte) for byte in visible} | {byte: chr(256 + place) for place, byte in enumerate(others)}
    return tuple(signs[byte] for byte in range(256))


@lru_cache(maxsize=1)
def _ranks() -> dict[tuple[str, ...], int]:
    """Returns pair -> place of its merge, from the file that open_clip ships; nothing where that is not installed."""
    package = importlib.util.find_spec("open_clip")
    path = Path(package.origin if package and package.origin else "").with_name("bpe_simple_vocab_16e6.txt.gz")
    if not path.is_file():
        return {}
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")[1 : _MERGES + 1]
    return {tuple(line.split()): place for place, line in enumerate(lines)}
