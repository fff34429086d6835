"""The countable objects of the embedded scenes. Each draws itself and returns its signed distance."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .shapes import Array, box, ellipse, paint, polygon, rgb

# (image, x, y, foot x, foot y, height of the object, randomness) -> signed distance (H, W) of the whole object
Painter = Callable[[Array, Array, Array, float, float, float, np.random.Generator], Array]


def ball(image: Array, x: Array, y: Array, fx: float, fy: float, size: float, rng: np.random.Generator) -> Array:
    """A striped, shaded ball standing on (fx, fy)."""
    radius = size * 0.42
    cx, cy = fx, fy - radius
    shape = ellipse(x, y, cx, cy, radius, radius)
    base = np.array([rng.uniform(175, 225), rng.uniform(20, 50), rng.uniform(110, 165)], np.float32)
    u, v = (x - cx) / radius, (y - cy) / radius
    depth = np.sqrt(np.clip(1 - u**2 - v**2, 0, 1))
    light = np.clip(0.45 + 0.4 * depth - 0.25 * u - 0.3 * v, 0.25, 1.15)[..., None]
    angle = rng.uniform(0, np.pi)
    stripe = (np.abs(u * np.cos(angle) + v * np.sin(angle)) < 0.2)[..., None]
    color = np.where(stripe, rgb([245, 235, 240]), base) * light
    color = color + 120 * np.exp(-((u + 0.35) ** 2 + (v + 0.4) ** 2) / 0.03)[..., None]
    paint(image, shape, color)
    return shape


def house(image: Array, x: Array, y: Array, fx: float, fy: float, size: float, rng: np.random.Generator) -> Array:
    """A house with a red roof, a door and a window."""
    half, wall_top, top = size * rng.uniform(0.42, 0.55), fy - size * 0.6, fy - size
    wall = box(x, y, fx - half, wall_top, fx + half, fy)
    eaves = half * 1.18
    roof = polygon(
        x, y, [(fx - eaves, wall_top), (fx - eaves * 0.25, top), (fx + eaves * 0.25, top), (fx + eaves, wall_top)]
    )
    tone = rgb([rng.uniform(215, 245), rng.uniform(195, 215), rng.uniform(120, 155)])
    side = 1 - 0.22 * np.clip((x - fx) / half, -1, 1)[..., None]
    paint(image, wall, np.broadcast_to(tone * side, image.shape))
    tiles = 1 + 0.1 * np.sign(np.sin(y * (18 / size) * np.pi))[..., None]
    paint(image, roof, np.broadcast_to(rgb([170, 55, 35]) * tiles, image.shape))
    paint(image, box(x, y, fx - half * 0.7, fy - size * 0.38, fx - half * 0.25, fy), (95, 60, 40))
    paint(image, box(x, y, fx + half * 0.2, fy - size * 0.45, fx + half * 0.7, fy - size * 0.2), (90, 135, 170))
    return np.minimum(wall, roof)


def tree(image: Array, x: Array, y: Array, fx: float, fy: float, size: float, rng: np.random.Generator) -> Array:
    """A fir: a trunk and three tiers."""
    half = size * rng.uniform(0.3, 0.38)
    trunk = box(x, y, fx - size * 0.05, fy - size * 0.25, fx + size * 0.05, fy)
    paint(image, trunk, (85, 55, 35))
    shape = trunk
    tone = rgb([rng.uniform(5, 25), rng.uniform(70, 95), rng.uniform(60, 85)])
    for tier, (low, high, wide) in enumerate(((0.16, 0.6, 1.0), (0.4, 0.8, 0.78), (0.62, 1.0, 0.55))):
        corners = [(fx - half * wide, fy - size * low), (fx, fy - size * high), (fx + half * wide, fy - size * low)]
        part = polygon(x, y, corners)
        light = (1 + 0.12 * tier - 0.35 * np.clip((x - fx) / half, -1, 1))[..., None]
        needles = 1 + 0.12 * np.sin(x * 2.1 + y * 1.3 + tier)[..., None]
        paint(image, part, tone * light * needles)
        shape = np.minimum(shape, part)
    return shape


def cone(image: Array, x: Array, y: Array, fx: float, fy: float, size: float, rng: np.random.Generator) -> Array:
    """An orange traffic cone with a white band."""
    half = size * rng.uniform(0.28, 0.34)
    foot = box(x, y, fx - half * 1.3, fy - size * 0.1, fx + half * 1.3, fy)
    tip = size * 0.05
    body = polygon(
        x,
        y,
        [(fx - half, fy - size * 0.08), (fx - tip, fy - size), (fx + tip, fy - size), (fx + half, fy - size * 0.08)],
    )
    light = (1.02 - 0.3 * np.clip((x - fx) / half, -1, 1))[..., None]
    tone = rgb([rng.uniform(240, 255), rng.uniform(105, 135), rng.uniform(0, 20)])
    paint(image, foot, (60, 50, 60))
    paint(image, body, np.broadcast_to(tone * light, image.shape))
    band = np.maximum(body, np.maximum(fy - size * 0.66 - y, y - fy + size * 0.44))
    paint(image, band, np.broadcast_to(rgb([245, 245, 240]) * light, image.shape))
    return np.minimum(foot, body)


THINGS: dict[str, tuple[Painter, float, float]] = {
    # name: (painter, smallest and largest height on the horizon-near and the near side, in image heights)
    "ball": (ball, 0.24, 0.40),
    "house": (house, 0.30, 0.48),
    "tree": (tree, 0.38, 0.60),
    "cone": (cone, 0.26, 0.42),
}
