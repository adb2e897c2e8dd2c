"""What every family draws with.

Seeded generators, colours, outlines, and a supersampled canvas with a pose.

Coordinates are those of the unit square, x to the right and y down, both in [-1, 1]; an array of N
points is `[N, 2]`. A canvas moves them by its pose before it draws, so a family describes its
object upright and in the middle, and the nuisance stays in one place.
"""

from __future__ import annotations

import colorsys
import hashlib
import math
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw

Rng: TypeAlias = np.random.Generator
RGB: TypeAlias = tuple[int, int, int]

SUPERSAMPLING = 2


def rng_for(*key: object) -> Rng:
    """The generator that belongs to a key, such as `(seed, "glyphs", "class", 3)`.

    It is the same on every machine and in every process.
    """
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


# --------------------------------------------------------------------------------------- colours


def hsv(hue: float, saturation: float, value: float) -> RGB:
    """A colour from hue, saturation and value.

    The hue is any real number, modulo 1; the others are clipped to [0, 1].
    """
    r, g, b = colorsys.hsv_to_rgb(
        hue % 1.0, min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0)
    )
    return round(r * 255), round(g * 255), round(b * 255)


def random_colour(
    rng: Rng, value: tuple[float, float] = (0.25, 1.0), saturation: tuple[float, float] = (0.1, 1.0)
) -> RGB:
    """Any hue, with saturation and value inside the given ranges."""
    return hsv(rng.random(), rng.uniform(*saturation), rng.uniform(*value))


def contrasting_pair(rng: Rng, least: float = 0.45) -> tuple[RGB, RGB]:
    """Two random colours whose luma differs by at least `least` of the full range.

    They come in either order; shapes stay visible.
    """
    while True:
        a, b = (
            random_colour(rng, (0.0, 1.0), (0.0, 1.0)),
            random_colour(rng, (0.0, 1.0), (0.0, 1.0)),
        )
        if abs(luma(a) - luma(b)) >= least:
            return a, b


def luma(colour: RGB) -> float:
    """Perceived brightness in [0, 1] (Rec. 601 weights)."""
    return (0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]) / 255


def jitter(colour: RGB, rng: Rng, amount: float) -> RGB:
    """The colour with independent normal noise per channel.

    `amount` is its standard deviation, as a part of the full range.
    """
    r, g, b = (
        round(min(max(c + 255 * amount * n, 0), 255))
        for c, n in zip(colour, rng.standard_normal(3).tolist(), strict=True)
    )
    return r, g, b


def shade(colour: RGB, factor: float) -> RGB:
    """The colour made darker (`factor` < 1) or lighter (> 1)."""
    r, g, b = (round(min(c * factor, 255)) for c in colour)
    return r, g, b


# ---------------------------------------------------------------- outlines, all [N, 2]


@lru_cache(maxsize=16)
def circle(points: int) -> np.ndarray:
    """The unit circle as a polygon."""
    angle = np.arange(points) * (2 * math.pi / points)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def ellipse(
    x: float, y: float, rx: float, ry: float, angle: float = 0.0, points: int = 20
) -> np.ndarray:
    """An ellipse with centre (x, y), half axes rx and ry, turned by `angle` radians."""
    return moved(turned(circle(points) * (rx, ry), angle), x, y)


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """An upright rectangle."""
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def star(points: int, inner: float, angle: float = 0.0) -> np.ndarray:
    """A star of outer radius 1; `inner` = cos(pi / points) makes it the regular polygon."""
    radius = np.where(np.arange(2 * points) % 2 == 0, 1.0, inner)
    return turned(circle(2 * points) * radius[:, None], angle - math.pi / 2)


def harmonic_outline(amplitudes: np.ndarray, phases: np.ndarray, points: int = 40) -> np.ndarray:
    """The closed curve of radius 1 + sum_k a_k cos((k + 2) t + phase_k).

    It is scaled to a largest radius of 1.
    """
    t = np.arange(points) * (2 * math.pi / points)
    k = np.arange(len(amplitudes))[:, None] + 2
    radius = np.maximum(1 + (amplitudes[:, None] * np.cos(k * t + phases[:, None])).sum(0), 0.15)
    return circle(points) * (radius / radius.max())[:, None]


def curve(control: np.ndarray, points: int = 12) -> np.ndarray:
    """The quadratic Bezier curve of three control points `[3, 2]`."""
    t = np.linspace(0, 1, points)[:, None]
    return (1 - t) ** 2 * control[0] + 2 * t * (1 - t) * control[1] + t**2 * control[2]


def moved(points: np.ndarray, x: float, y: float) -> np.ndarray:
    """The points moved by (x, y)."""
    return points + np.array((x, y))


def turned(points: np.ndarray, angle: float) -> np.ndarray:
    """The points turned about the origin by `angle` radians."""
    c, s = math.cos(angle), math.sin(angle)
    return points @ np.array([(c, s), (-s, c)])


# ---------------------------------------------------------------------------------------- canvas


class Pose:
    """An affine map of the unit square: p -> p @ matrix + shift.

    matrix: `[2, 2]`; shift: `[2]`.
    """

    def __init__(self, matrix: np.ndarray, shift: np.ndarray) -> None:
        self.matrix = matrix
        self.shift = shift

    @classmethod
    def random(
        cls,
        rng: Rng,
        *,
        scale: tuple[float, float],
        turn: float = 0.0,
        shift: float = 0.0,
        stretch: float = 0.0,
        shear: float = 0.0,
        mirror: bool = False,
    ) -> Pose:
        """A random pose.

        Args:
            rng: draws it.
            scale: its range (log-uniform).
            turn: largest angle in radians either way.
            shift: largest move along each axis.
            stretch: largest log aspect ratio.
            shear: largest horizontal shear.
            mirror: whether half of the poses are mirrored.
        """
        size = math.exp(rng.uniform(math.log(scale[0]), math.log(scale[1])))
        aspect = math.exp(rng.uniform(-stretch, stretch) / 2)
        flip = -1.0 if mirror and rng.random() < 0.5 else 1.0
        matrix = np.array(
            [(size * aspect * flip, 0.0), (rng.uniform(-shear, shear) * size, size / aspect)]
        )
        return cls(turned(matrix, rng.uniform(-turn, turn)), rng.uniform(-shift, shift, 2))


UPRIGHT = Pose(np.eye(2), np.zeros(2))


class Canvas:
    """A supersampled RGB drawing surface of `px` x `px` final pixels, filled with `background`."""

    def __init__(self, px: int, background: RGB, pose: Pose = UPRIGHT) -> None:
        self.px = px
        self.pose = pose
        self.image = Image.new("RGB", (px * SUPERSAMPLING, px * SUPERSAMPLING), background)
        self._draw = ImageDraw.Draw(self.image)
        self._half = px * SUPERSAMPLING / 2

    def _place(self, points: np.ndarray) -> list[float]:
        return ((points @ self.pose.matrix + self.pose.shift + 1) * self._half).ravel().tolist()

    def polygon(self, points: np.ndarray, fill: RGB) -> None:
        """Fill a closed outline `[N, 2]`."""
        self._draw.polygon(self._place(points), fill=fill)

    def line(self, points: np.ndarray, width: float, fill: RGB) -> None:
        """Draw an open path `[N, 2]` with round ends.

        `width` is in unit coordinates and follows the scale of the pose.
        """
        flat = self._place(points)
        scale = math.sqrt(abs(float(np.linalg.det(self.pose.matrix))))
        pixels = max(width * scale * self._half, 1.0)
        self._draw.line(flat, fill=fill, width=round(pixels), joint="curve")
        if pixels > 2.5:
            r = pixels / 2
            for x, y in (flat[:2], flat[-2:]):
                self._draw.ellipse((x - r, y - r, x + r, y + r), fill=fill)

    def clutter(self, rng: Rng, count: int, near: RGB | None = None, spread: float = 0.12) -> None:
        """Scatter `count` patches and bars that mean nothing.

        They have any colour, or colours `near` one, and ignore the pose.
        """
        pose, self.pose = self.pose, UPRIGHT
        for _ in range(count):
            colour = random_colour(rng) if near is None else jitter(near, rng, spread)
            where = rng.uniform(-1, 1, 2)
            if rng.random() < 0.5:
                outline = (
                    star(int(rng.integers(3, 6)), rng.uniform(0.5, 0.8), rng.uniform(0, 6.3))
                    * rng.uniform(0.15, 0.5)
                    + where
                )
                self.polygon(outline, colour)
            else:
                self.line(
                    np.stack([where, where + rng.uniform(-0.9, 0.9, 2)]),
                    rng.uniform(0.03, 0.12),
                    colour,
                )
        self.pose = pose

    def finish(
        self, rng: Rng, *, light: float = 0.2, cast: float = 0.04, noise: float = 0.02
    ) -> Image.Image:
        """The picture at its final size, photographed: see `photograph`."""
        return photograph(
            np.asarray(self.image.reduce(SUPERSAMPLING), dtype=np.float32) / 255,
            rng,
            light=light,
            cast=cast,
            noise=noise,
        )


def photograph(
    picture: np.ndarray, rng: Rng, *, light: float = 0.2, cast: float = 0.04, noise: float = 0.02
) -> Image.Image:
    """Turn a clean picture into an RGB image, under random lighting.

    Args:
        picture: float32 [px, px, 3] in [0, 1].
        rng: draws the lighting.
        light: strength of exposure and of a brightness ramp across the picture.
        cast: standard deviation of the log gain per channel.
        noise: standard deviation of pixel noise.
    """
    x, y = grid(picture.shape[0])
    angle = rng.uniform(0, 2 * math.pi)
    ramp = (
        rng.uniform(0, light) * (math.cos(angle) * x + math.sin(angle) * y)
        + 1
        + rng.uniform(-light, light) * 0.7
    )
    gain = np.exp(rng.normal(0, cast, 3)).astype(np.float32)
    lit = picture * ramp[..., None] * gain + noise * rng.standard_normal(
        picture.shape, dtype=np.float32
    )
    return Image.fromarray((np.clip(lit, 0, 1) * 255).astype(np.uint8))


@lru_cache(maxsize=4)
def grid(px: int) -> tuple[np.ndarray, np.ndarray]:
    """The x and y of every pixel's centre in unit coordinates, each float32 [px, px]."""
    axis = ((np.arange(px, dtype=np.float32) + 0.5) / px) * 2 - 1
    x, y = np.meshgrid(axis, axis)
    return x, y
