"""Multi-layer perceptrons."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from .linear import Linear


class MLP(nn.Module):
    """Linear layers with ReLU between them; parameters ``layers.{i}.weight`` and ``layers.{i}.bias``.

    Args:
        input_dim: channels of the input.
        hidden_dim: channels between the layers.
        output_dim: channels of the output.
        num_layers: number of linear layers, at least 1.
    """

    def __init__(self, input_dim: int, hidden_dim: int, output_dim: int, num_layers: int) -> None:
        super().__init__()
        dims = [input_dim, *[hidden_dim] * (num_layers - 1), output_dim]
        self.layers = nn.ModuleList(Linear(a, b) for a, b in zip(dims[:-1], dims[1:], strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., input_dim) to (..., output_dim)."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


class GELUFeedForward(nn.Module):
    """Linear, exact GELU, Linear; parameters ``fc1.*`` and ``fc2.*``.

    Args:
        dim: channels of input and output.
        hidden_dim: channels between.
        dropout: dropout after the activation and after the output.
    """

    def __init__(self, dim: int, hidden_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1 = Linear(dim, hidden_dim)
        self.fc2 = Linear(hidden_dim, dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., dim) to (..., dim)."""
        return self.drop(self.fc2(self.drop(F.gelu(self.fc1(x)))))
