"""TinyViT, the image encoder of MobileSAM (arXiv 2207.10666; arXiv 2306.14289, section 3).

Convolutions at strides 2 and 4, then three stages of windowed attention at strides 8, 16 and 16. Parameters have the
published names, so that the ``image_encoder.*`` tensors of MobileSAM's file load strictly.

Letters in shapes: B images, H and W rows and columns of a feature map, C channels, h heads, d channels of a head,
w side of a window, n windows.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ...layers.image_encoder_vit import ConvNeck
from ...layers.linear import Linear
from ...layers.relative_position import MODES, plain_attention
from ...layers.windows import join_windows, split_windows

EPS = 1e-5  # of every LayerNorm and BatchNorm before the neck
STRIDE = 16  # pixels of the image per cell of the embedding


class ConvBatchNorm(nn.Module):
    """Convolution without bias and batch normalisation; parameters ``c.*`` and ``bn.*``.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: side of the kernel; the padding keeps the size.
        stride: stride.
        groups: groups of the convolution; ``in_channels``: depthwise.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.c = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, groups=groups, bias=False
        )
        self.bn = nn.BatchNorm2d(out_channels, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, in_channels, H, W) to (B, out_channels, H / stride, W / stride)."""
        mean, variance = self.bn.running_mean, self.bn.running_var
        if self.bn.training or mean is None or variance is None:
            return self.bn(self.c(x))
        # With fixed statistics the norm is an affine map, which the convolution can do by itself.
        scale = self.bn.weight * (variance + self.bn.eps).rsqrt()
        bias = self.bn.bias - mean * scale
        weight = self.c.weight * scale[:, None, None, None]
        return F.conv2d(x, weight, bias, self.c.stride, self.c.padding, groups=self.c.groups)


class ConvPatchEmbed(nn.Module):
    """Stem: two strided convolutions.

    Args:
        embed_dim: channels of the output.
    """

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(
            ConvBatchNorm(3, embed_dim // 2, 3, stride=2),
            nn.GELU(),
            ConvBatchNorm(embed_dim // 2, embed_dim, 3, stride=2),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (B, 3, 4 H, 4 W) to (B, C, H, W)."""
        return self.seq(images)


class PointwiseDepthwise(nn.Module):
    """1x1, depthwise 3x3 and 1x1 convolution with norms, GELU between them.

    Args:
        in_channels: channels of the input.
        hidden_channels: channels between.
        out_channels: channels of the output.
        stride: stride of the depthwise convolution.
    """

    def __init__(self, in_channels: int, hidden_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = ConvBatchNorm(in_channels, hidden_channels)
        self.conv2 = ConvBatchNorm(hidden_channels, hidden_channels, 3, stride, groups=hidden_channels)
        self.conv3 = ConvBatchNorm(hidden_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, in_channels, H, W) to (B, out_channels, H / stride, W / stride)."""
        return self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))


class MBConv(PointwiseDepthwise):
    """Inverted bottleneck with a residual, GELU last (arXiv 1801.04381).

    Args:
        dim: channels C.
        expand_ratio: hidden over outer channels.
    """

    def __init__(self, dim: int, expand_ratio: float) -> None:
        super().__init__(dim, int(dim * expand_ratio), dim)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to the same shape."""
        return F.gelu(x + super().forward(x))


class WindowAttention(nn.Module):
    """LayerNorm and self-attention with a learned bias per row and column distance.

    The rows of ``qkv`` are ordered by head: each head has the d rows of its queries, of its keys and of its values.

    Args:
        dim: channels C, a multiple of ``num_heads``.
        num_heads: attention heads.
        window_size: side w of the windows that it is applied to.
        mode: "eager": plain matrix products; any other of ``MODES``: the fused kernel.
    """

    def __init__(self, dim: int, num_heads: int, window_size: int, mode: str = "auto") -> None:
        super().__init__()
        if mode not in MODES:
            raise ValueError(f"attention must be one of {', '.join(MODES)}, not {mode!r}")
        self.num_heads = num_heads
        self.mode = mode
        self.norm = nn.LayerNorm(dim, eps=EPS)
        self.qkv = Linear(dim, 3 * dim)
        self.proj = Linear(dim, dim)
        self.attention_biases = nn.Parameter(torch.zeros(num_heads, window_size**2))
        cells = torch.cartesian_prod(torch.arange(window_size), torch.arange(window_size))
        rows, columns = (cells[:, None] - cells[None]).abs().unbind(-1)
        self.bias_index: Tensor
        self.register_buffer("bias_index", rows * window_size + columns, persistent=False)  # (w w, w w)

    def forward(self, windows: Tensor) -> Tensor:
        """Maps windows (B n, w, w, C) to the same shape."""
        tokens = self.qkv(self.norm(windows)).flatten(1, 2).unflatten(-1, (self.num_heads, 3, -1))
        query, key, value = tokens.permute(3, 0, 2, 1, 4).unbind(0)  # each (B n, h, w w, d)
        # Looked up each time: a stored matrix would be stale after new weights are loaded.
        bias = self.attention_biases[:, self.bias_index].to(query.dtype)[None]
        if self.mode == "eager":
            attended = plain_attention(query, key, value, bias)
        else:
            attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.proj(attended.transpose(1, 2).flatten(2).unflatten(1, windows.shape[1:3]))


class NormFeedForward(nn.Module):
    """LayerNorm, Linear, exact GELU, Linear; parameters ``norm.*``, ``fc1.*`` and ``fc2.*``.

    Args:
        dim: channels C.
        hidden_dim: channels between.
    """

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=EPS)
        self.fc1 = Linear(dim, hidden_dim)
        self.fc2 = Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., C) to (..., C)."""
        return self.fc2(F.gelu(self.fc1(self.norm(x))))


class TinyViTBlock(nn.Module):
    """Windowed attention with a residual, a depthwise convolution without one, a perceptron with one.

    Args:
        dim: channels C.
        num_heads: attention heads.
        window_size: side of the windows.
        mlp_ratio: hidden over outer channels of the perceptron.
        attention: see :class:`WindowAttention`.
    """

    def __init__(self, dim: int, num_heads: int, window_size: int, mlp_ratio: float, attention: str = "auto") -> None:
        super().__init__()
        self.window_size = window_size
        self.attn = WindowAttention(dim, num_heads, window_size, attention)
        self.local_conv = ConvBatchNorm(dim, dim, 3, groups=dim)
        self.mlp = NormFeedForward(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to the same shape."""
        tokens = x.permute(0, 2, 3, 1)
        # Zero tokens fill the last windows before the attention's norm, which makes its bias vector of them.
        windows, padded_size = split_windows(tokens, self.window_size)
        tokens = tokens + join_windows(self.attn(windows), self.window_size, padded_size, x.shape[2:])
        tokens = self.local_conv(tokens.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return (tokens + self.mlp(tokens)).permute(0, 3, 1, 2)


class Stage(nn.Module):
    """Blocks of one width and what leads to the next stage.

    Args:
        blocks: modules that map (B, C, H, W) to the same shape.
        downsample: module that follows them, or None.
        use_checkpoint: recompute the blocks' activations in the backward pass.
    """

    def __init__(self, blocks: Sequence[nn.Module], downsample: nn.Module | None, use_checkpoint: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample
        self.use_checkpoint = use_checkpoint

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to the input of the next stage."""
        for block in self.blocks:
            if self.use_checkpoint and torch.is_grad_enabled():
                contexts = functools.partial(_checkpoint_contexts, block)
                x = checkpoint(block, x, use_reentrant=False, context_fn=contexts)
            else:
                x = block(x)
        return x if self.downsample is None else self.downsample(x)


class TinyViT(nn.Module):
    """Stem, four stages and SAM's neck.

    Images may have any size that is a multiple of 16; nothing depends on ``img_size`` but that check.

    Batch normalisation keeps its statistics also in training mode, unless ``train_batch_norm`` is set before
    :meth:`train` is called: batches of large images are too small for statistics of their own.

    Args:
        img_size: image side in pixels, a multiple of 16.
        embed_dims: channels of the four stages.
        depths: blocks of the stages.
        num_heads: attention heads of the stages; the first has no attention.
        window_sizes: sides of the windows of the stages, in tokens.
        mlp_ratio: hidden over outer channels of the perceptrons.
        mbconv_expand_ratio: the same of the first stage's convolutions.
        out_chans: channels of the embedding.
        num_classes: outputs of the published file's classifier, whose tensors ``norm_head.*`` and ``head.*`` are never
            used; 0: ``norm_head.*`` only; None: neither.
        attention: "eager": plain matrix products; auto, bias, concat: the fused kernel.
        train_batch_norm: statistics of the batch, and moving averages of them, in training mode.
        use_checkpoint: recompute the blocks' activations in the backward pass.

    Raises:
        ValueError: for an ``img_size`` that is no multiple of 16.
    """

    def __init__(
        self,
        img_size: int = 1024,
        embed_dims: Sequence[int] = (64, 128, 160, 320),
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (2, 4, 5, 10),
        window_sizes: Sequence[int] = (7, 7, 14, 7),
        mlp_ratio: float = 4.0,
        mbconv_expand_ratio: float = 4.0,
        out_chans: int = 256,
        *,
        num_classes: int | None = 1000,
        attention: str = "auto",
        train_batch_norm: bool = False,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        if img_size % STRIDE:
            raise ValueError(f"the image size must be a multiple of {STRIDE}, not {img_size}")
        self.img_size = img_size
        self.train_batch_norm = train_batch_norm
        self.patch_embed = ConvPatchEmbed(embed_dims[0])
        stages = []
        for i, dim in enumerate(embed_dims):
            if i == 0:
                blocks: list[nn.Module] = [MBConv(dim, mbconv_expand_ratio) for _ in range(depths[i])]
            else:
                sizes = (dim, num_heads[i], window_sizes[i], mlp_ratio)
                blocks = [TinyViTBlock(*sizes, attention) for _ in range(depths[i])]
            downsample = None
            if i < len(embed_dims) - 1:
                # The last one keeps the grid, for an embedding at stride 16.
                stride = 2 if i < len(embed_dims) - 2 else 1
                downsample = PointwiseDepthwise(dim, embed_dims[i + 1], embed_dims[i + 1], stride)
            stages.append(Stage(blocks, downsample, use_checkpoint))
        self.layers = nn.ModuleList(stages)
        self.norm_head = None if num_classes is None else nn.LayerNorm(embed_dims[-1], eps=EPS)
        self.head = nn.Linear(embed_dims[-1], num_classes) if num_classes else None
        self.neck = ConvNeck(embed_dims[-1], out_chans)
        self.apply(_init_linear)

    def train(self, mode: bool = True) -> TinyViT:
        """Switches training mode; batch normalisation follows only with ``train_batch_norm``."""
        super().train(mode)
        for module in _batch_norms(self):
            module.train(mode and self.train_batch_norm)
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Maps normalised images (B, 3, 16 H, 16 W) to the embedding (B, out_chans, H, W)."""
        # Channels last in memory: convolutions and attention then read the same layout.
        x = self.patch_embed(images.contiguous(memory_format=torch.channels_last))
        for stage in self.layers:
            x = stage(x)
        return self.neck(x)


def _batch_norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]


def _init_linear(module: nn.Module) -> None:
    """Truncated-normal matrices and zero biases of linear layers; all else keeps the framework's start."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


def _checkpoint_contexts(
    block: nn.Module,
) -> tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]:
    """Contexts of the forward pass and of its repetition, in which moving averages must not advance again."""
    return contextlib.nullcontext(), _still_averages(block)


@contextlib.contextmanager
def _still_averages(block: nn.Module) -> Iterator[None]:
    """Batch normalisation in training mode uses its batch, but updates no moving average."""
    kept = [(norm, norm.momentum, norm.num_batches_tracked) for norm in _batch_norms(block)]
    for norm, _, _ in kept:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, momentum, batches in kept:
            norm.momentum, norm.num_batches_tracked = momentum, batches
