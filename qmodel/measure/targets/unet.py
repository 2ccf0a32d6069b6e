"""A class-conditional U-Net that predicts the noise of a diffusion model, in plain torch.

The 8x8 digits use the default configuration (about 0.7 M parameters); larger ones serve measurements on GPUs.
Architecture: Ho, Jain & Abbeel 2020 (residual blocks with group norm, sinusoidal time embedding), with a class
embedding added to the time embedding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from qmodel.errors import InputError


@dataclass(frozen=True)
class UNetConfig:
    """Shape of a U-Net: one resolution level per entry of `channels`, each half the size of the one before.

    Raises InputError when the image cannot be halved that often or the channels cannot be grouped.
    """

    image_size: int = 8
    in_channels: int = 1
    channels: tuple[int, ...] = (32, 64)
    blocks: int = 1
    classes: int = 10
    groups: int = 8
    attention: bool = False
    """Self-attention (one head per 64 channels) between the two blocks at the lowest resolution."""

    def __post_init__(self) -> None:
        for name in ("image_size", "in_channels", "blocks", "classes", "groups"):
            if getattr(self, name) < 1:
                raise InputError(f"U-Net {name}", f"{getattr(self, name)} is too small", "use 1 or more")
        if not self.channels:
            raise InputError("U-Net channels", "is empty", "give one number per resolution level, e.g. 32, 64")
        if self.image_size % 2 ** (len(self.channels) - 1):
            fault = f"{self.image_size} cannot be halved {len(self.channels) - 1} times"
            raise InputError("U-Net image_size", fault, "use a multiple of 2^(levels - 1)")
        for width in self.channels:
            if width < 1 or width % self.groups:
                fault = f"{width} is not a multiple of groups = {self.groups}"
                raise InputError("U-Net channels", fault, "change channels or groups")


class UNet(nn.Module):
    """eps(sample, timestep, label): the predicted noise, of the sample's shape.

    sample (n, in_channels, image_size, image_size) float; timestep (n,) integer; label (n,) integer in
    [0, classes).
    """

    def __init__(self, config: UNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or UNetConfig()
        first, last, embedding = config.channels[0], config.channels[-1], 4 * config.channels[0]
        self.time_embedding = TimeEmbedding(first, embedding)
        self.label_embedding = nn.Embedding(config.classes, embedding)
        self.entry = nn.Conv2d(config.in_channels, first, 3, padding=1)
        self.down = nn.ModuleList()
        skips, width = [first], first
        for level, channels in enumerate(config.channels):
            for _ in range(config.blocks):
                self.down.append(ResidualBlock(width, channels, embedding, config.groups))
                width = channels
                skips.append(width)
            if level < len(config.channels) - 1:
                self.down.append(Downsample(width))
                skips.append(width)
        self.middle = nn.ModuleList([ResidualBlock(last, last, embedding, config.groups)])
        if config.attention:
            self.middle.append(Attention(last, config.groups))
        self.middle.append(ResidualBlock(last, last, embedding, config.groups))
        self.up = nn.ModuleList()
        for level, channels in reversed(list(enumerate(config.channels))):
            for _ in range(config.blocks + 1):
                self.up.append(ResidualBlock(width + skips.pop(), channels, embedding, config.groups))
                width = channels
            if level:
                self.up.append(Upsample(width))
        self.exit_norm = nn.GroupNorm(config.groups, first)
        self.exit = nn.Conv2d(first, config.in_channels, 3, padding=1)

    def forward(self, sample: Tensor, timestep: Tensor, label: Tensor) -> Tensor:
        """Predicted noise; see the class."""
        condition = functional.silu(self.time_embedding(timestep, sample.dtype) + self.label_embedding(label))
        x = self.entry(sample)
        skips = [x]
        for block in self.down:
            x = block(x, condition)
            skips.append(x)
        for block in self.middle:
            x = block(x, condition)
        for block in self.up:
            x = block(x if isinstance(block, Upsample) else torch.cat([x, skips.pop()], dim=1), condition)
        return self.exit(functional.silu(self.exit_norm(x)))


class TimeEmbedding(nn.Module):
    """Sines and cosines of the timestep at geometric frequencies (1 to 1/10000), then a two-layer network."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        frequencies = torch.exp(-math.log(10_000) * torch.arange(width // 2) / (width // 2))
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.first, self.second = nn.Linear(width, embedding), nn.Linear(embedding, embedding)

    def forward(self, timestep: Tensor, dtype: torch.dtype) -> Tensor:
        """Embedding (n, embedding) of timesteps (n,)."""
        angles = timestep.to(torch.float32)[:, None] * self.frequencies.to(torch.float32)
        waves = torch.cat([torch.sin(angles), torch.cos(angles)], dim=-1).to(dtype)
        return self.second(functional.silu(self.first(waves)))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with group norm and SiLU; the condition is added between them."""

    def __init__(self, inputs: int, outputs: int, embedding: int, groups: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(groups, inputs), nn.GroupNorm(groups, outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.condition = nn.Linear(embedding, outputs)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Residual update of x (n, inputs, h, w) under condition (n, embedding)."""
        hidden = self.conv1(functional.silu(self.norm1(x))) + self.condition(condition)[:, :, None, None]
        return self.shortcut(x) + self.conv2(functional.silu(self.norm2(hidden)))


class Attention(nn.Module):
    """Residual multi-head self-attention over the positions of an image."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.heads = max(1, width // 64) if width % 64 == 0 else 1
        self.norm = nn.GroupNorm(groups, width)
        self.qkv, self.out = nn.Conv2d(width, 3 * width, 1), nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Residual update of x (n, width, h, w); the condition is not used."""
        n, width, height, breadth = x.shape
        packed = self.qkv(self.norm(x)).reshape(n, 3 * self.heads, width // self.heads, height * breadth)
        query, key, value = packed.transpose(2, 3).chunk(3, dim=1)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return x + self.out(mixed.transpose(2, 3).reshape(n, width, height, breadth))


class Downsample(nn.Module):
    """Halve the resolution by a strided 3x3 convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(n, width, h, w) -> (n, width, h/2, w/2); the condition is not used."""
        return self.conv(x)


class Upsample(nn.Module):
    """Double the resolution by repeating pixels, then a 3x3 convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(n, width, h, w) -> (n, width, 2h, 2w); the condition is not used."""
        return self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
