"""Attention over a grid of tokens with decomposed relative positions (MViTv2, arXiv 2112.01526, equation 4).

The logit of a query q at (y, x) and a key k at (v, u) is ``q . k / sqrt(d) + q . Rh[y - v] + q . Rw[x - u]``: the query
also scores the distance of the rows and that of the columns. The ways to compute it differ in time and memory only.

Letters in shapes: B images or windows, H and W rows and columns of tokens, h heads, d channels of a head, q and k
numbers of queries and keys along one axis.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from .linear import linear

MODES = ("auto", "bias", "concat", "eager")

# Tokens up to which the dense bias is small enough to be the fastest way.
_DENSE_TOKENS = 1024
# Logits that are computed at once without gradients on a CPU: 8 MiB, about what stays in its caches.
_CACHED_LOGITS = 2**21


def relative_attention(
    query: Tensor, key: Tensor, value: Tensor, tables: tuple[Tensor, Tensor], size: tuple[int, int], mode: str = "auto"
) -> Tensor:
    """Attends over the grid.

    Args:
        query: (B, h, H W, d), not scaled.
        key: (B, h, H W, d).
        value: (B, h, H W, d).
        tables: vectors of row distances and of column distances, (L, d) each; see :func:`relative_positions`.
        size: H, W.
        mode: "eager": plain matrix products, the formula above. "bias": the positions' share as one dense matrix, added
            by the fused kernel. "concat": longer queries and keys in place of that matrix, for memory that grows with
            H W only. "auto": the fastest of these for device, size and gradients.

    Returns:
        (B, h, H W, d).
    """
    rows, columns = axis_scores(query, tables, size)
    way = _fastest(query, size) if mode == "auto" else _WAYS[mode]
    return way(query, key, value, rows, columns)


def axis_scores(query: Tensor, tables: tuple[Tensor, Tensor], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Returns every query's scores of all rows, (B, h, H, W, H), and of all columns, (B, h, H, W, W)."""
    height, width = size
    grid = query.unflatten(2, size)
    row_vectors = relative_positions(height, height, tables[0]).to(query.dtype)
    column_vectors = relative_positions(width, width, tables[1]).to(query.dtype)
    rows = torch.einsum("bnyxc,ykc->bnyxk", grid, row_vectors)
    columns = torch.einsum("bnyxc,xkc->bnyxk", grid, column_vectors)
    return rows, columns


def relative_positions(query_size: int, key_size: int, table: Tensor) -> Tensor:
    """Looks up the vectors of all distances along one axis.

    Args:
        query_size: number of queries q.
        key_size: number of keys k; where it differs, the coordinates of the shorter axis are stretched.
        table: (L, d), from the most negative to the most positive distance; interpolated linearly unless
            L = 2 max(q, k) - 1.

    Returns:
        (q, k, d).
    """
    table = resized_table(table, 2 * max(query_size, key_size) - 1)
    query_stretch, key_stretch = max(key_size / query_size, 1.0), max(query_size / key_size, 1.0)
    queries = torch.arange(query_size, device=table.device)[:, None] * query_stretch
    keys = torch.arange(key_size, device=table.device)[None, :] * key_stretch
    return table[(queries - keys + (key_size - 1) * key_stretch).long()]


def resized_table(table: Tensor, length: int) -> Tensor:
    """Interpolates a table (L, d) linearly to (length, d)."""
    if table.shape[0] == length:
        return table
    return F.interpolate(table.t()[None], size=length, mode="linear", align_corners=False)[0].t()


def plain_attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Returns ``softmax(q k^T / sqrt(d) + bias) v`` by plain matrix products.

    Args:
        query: (B, h, q, d).
        key: (B, h, k, d).
        value: (B, h, k, d).
        bias: (B, h, q, k), or what broadcasts to it.

    Returns:
        (B, h, q, d).
    """
    logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1) + bias
    return logits.softmax(-1) @ value


def _dense_bias(rows: Tensor, columns: Tensor) -> Tensor:
    """Returns the positions' share of all logits, (B, h, H W, H W)."""
    return (rows[..., :, None] + columns[..., None, :]).flatten(4, 5).flatten(2, 3)


def _eager(query: Tensor, key: Tensor, value: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return plain_attention(query, key, value, _dense_bias(rows, columns))


def _bias(query: Tensor, key: Tensor, value: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value, attn_mask=_dense_bias(rows, columns))


def _concat(query: Tensor, key: Tensor, value: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Appends a query's scores of rows and columns to it, and the one-hot codes of row and column to the keys."""
    height, width = rows.shape[-1], columns.shape[-1]
    row_codes = torch.eye(height, dtype=key.dtype, device=key.device).repeat_interleave(width, 0)
    column_codes = torch.eye(width, dtype=key.dtype, device=key.device).repeat(height, 1)
    codes = torch.cat([row_codes, column_codes], -1).expand(*key.shape[:-1], -1)
    dim = query.shape[-1]
    long_query = torch.cat([query * dim**-0.5, rows.flatten(2, 3), columns.flatten(2, 3)], -1)
    long_key = torch.cat([key, codes], -1)
    if key.device.type == "cpu" or key.dtype in (torch.float16, torch.bfloat16):
        # The flash kernels want equal widths; without one, all logits would be in memory.
        value = F.pad(value, (0, height + width))
    return F.scaled_dot_product_attention(long_query, long_key, value, scale=1.0)[..., :dim]


def _by_rows(query: Tensor, key: Tensor, value: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The formula for one head and a few rows of queries at a time, with logits that stay in the caches."""
    height, width = rows.shape[-1], columns.shape[-1]
    scaled_keys = key * key.shape[-1] ** -0.5
    step = max(1, _CACHED_LOGITS // (width * height * width))
    # Tokens before heads, as the projection that follows reads them.
    attended = query.new_empty(query.shape[0], query.shape[2], query.shape[1], query.shape[3]).transpose(1, 2)
    for image in range(query.shape[0]):
        for head in range(query.shape[1]):
            at = (image, head)
            head_values = value[at].t().contiguous()
            for start in range(0, height, step):
                tokens = slice(start * width, (start + step) * width)
                logits = linear(query[at][tokens], scaled_keys[at])
                grid = logits.view(-1, width, height, width)
                grid += rows[at][start : start + step, :, :, None]
                grid += columns[at][start : start + step, :, None, :]
                attended[at][tokens] = linear(logits.softmax(-1), head_values)
    return attended


_Way = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
_WAYS: dict[str, _Way] = {"eager": _eager, "bias": _bias, "concat": _concat}


def _fastest(query: Tensor, size: tuple[int, int]) -> _Way:
    """Returns the way for "auto"."""
    lean = query.device.type == "cpu" and query.dtype == torch.float32 and not torch.is_grad_enabled()
    if lean and not torch.compiler.is_compiling():
        return _by_rows
    return _bias if size[0] * size[1] <= _DENSE_TOKENS else _concat
