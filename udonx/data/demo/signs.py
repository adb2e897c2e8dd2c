"""Pre-training families of made things: mazes, gears, letters, flags."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from PIL import Image

from udonx.data.demo.canvas import (
    RGB,
    Canvas,
    Pose,
    Rng,
    box,
    circle,
    contrasting_pair,
    hsv,
    jitter,
    moved,
    random_colour,
    shade,
    star,
)


class Maze(NamedTuple):
    """What makes a class: a grid of blocks. Lengths in unit coordinates unless said."""

    cells: np.ndarray  # [n, n] of 0, 1 (block) and 2 (block of the class's own colour)
    colour: RGB


class Mazes:
    """Grids of blocks.

    The pattern decides, and the colour of a few of the blocks; the other colours are noise.
    """

    def draw_class(self, genus: Rng, own: Rng) -> Maze:
        """The grid of the genus with a quarter of its cells flipped, and a few in an own colour."""
        n = int(genus.integers(3, 6))
        cells = (genus.random((n, n)) < genus.uniform(0.35, 0.6)).astype(int)
        flips = own.random((n, n)) < 0.25
        cells = np.where(flips, 1 - cells, cells)
        cells.flat[own.choice(n * n, size=3, replace=False)] = 1  # never an empty picture
        special = (own.random((n, n)) < 0.2) & (cells == 1)
        return Maze(np.where(special, 2, cells), random_colour(own, (0.4, 1.0), (0.5, 1.0)))

    def render(self, params: Maze, rng: Rng, px: int) -> Image.Image:
        """The blocks in random colours, but for those of the class's own."""
        block, ground = contrasting_pair(rng)
        canvas = Canvas(
            px,
            ground,
            Pose.random(rng, scale=(0.72, 0.95), turn=0.15, shift=0.1, stretch=0.15, shear=0.12),
        )
        canvas.clutter(rng, int(rng.integers(0, 4)), near=ground, spread=0.08)
        n = len(params.cells)
        side, gap = 2 / n, rng.uniform(0.0, 0.2) / n
        for row, column in np.argwhere(params.cells > 0).tolist():
            x, y = -1 + column * side, -1 + row * side
            colour = jitter(params.colour if params.cells[row, column] == 2 else block, rng, 0.03)
            canvas.polygon(box(x + gap, y + gap, x + side - gap, y + side - gap), colour)
        return canvas.finish(rng)


class Gear(NamedTuple):
    """What makes a class: a toothed wheel. Lengths in unit coordinates unless said."""

    teeth: int
    depth: float
    square: bool  # square teeth rather than pointed ones
    hub: float
    holes: int
    hole: float  # radius of a hole


class Gears:
    """Toothed wheels.

    The numbers of teeth and holes, their form and the hub decide; colour and any turn are noise.
    """

    def draw_class(self, genus: Rng, own: Rng) -> Gear:
        """Number and form of the teeth from the genus; their depth, hub and holes are own."""
        return Gear(
            teeth=int(genus.integers(5, 17)),
            depth=own.uniform(0.1, 0.35),
            square=bool(genus.random() < 0.5),
            hub=own.uniform(0.08, 0.35),
            holes=int(own.choice([0, 3, 4, 5, 6, 7])),
            hole=own.uniform(0.08, 0.17),
        )

    def render(self, params: Gear, rng: Rng, px: int) -> Image.Image:
        """The wheel in any turn, in random metal."""
        ground, metal = (
            random_colour(rng, (0.1, 0.6), (0.0, 1.0)),
            random_colour(rng, (0.65, 1.0), (0.0, 0.7)),
        )
        canvas = Canvas(
            px, ground, Pose.random(rng, scale=(0.75, 0.98), turn=math.pi, shift=0.12, stretch=0.2)
        )
        canvas.clutter(rng, int(rng.integers(1, 6)), near=ground)
        if params.square:
            inside = np.repeat(np.arange(2 * params.teeth) % 2, 2)
            angle = np.repeat(np.arange(2 * params.teeth + 1), 2)[1:-1] * math.pi / params.teeth
            radius = 1 - params.depth * inside
            canvas.polygon(
                np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius[:, None], metal
            )
        else:
            canvas.polygon(star(params.teeth, 1 - 1.4 * params.depth), metal)
        dark = shade(metal, 0.35)
        for x, y in circle(max(params.holes, 1))[: params.holes].tolist():
            canvas.polygon(moved(circle(12) * params.hole, x * 0.5, y * 0.5), dark)
        canvas.polygon(circle(16) * params.hub, dark)
        return canvas.finish(rng, light=0.35)


class Letter(NamedTuple):
    """What makes a class: a sign of straight segments. Lengths in unit coordinates unless said."""

    bars: np.ndarray  # [n, 2, 2] ends of bars
    dots: np.ndarray  # [m, 2]


# The twelve nodes of a segment display, and the bars between neighbouring ones.
_NODES = np.array([(x, y) for y in (-0.8, -0.27, 0.27, 0.8) for x in (-0.55, 0.0, 0.55)])
_BARS = [
    (a, b)
    for a in range(12)
    for b in range(a + 1, 12)
    if abs(a // 3 - b // 3) <= 1 and abs(a % 3 - b % 3) <= 1
]


class Letters:
    """Signs built of straight segments and dots, upright.

    Which segments are there decides; colours, weight and slant are noise.
    """

    def draw_class(self, genus: Rng, own: Rng) -> Letter:
        """Two segments of the genus, some own ones, and up to two dots."""
        shared = genus.choice(len(_BARS), size=2, replace=False).tolist()
        bars = shared + own.choice(len(_BARS), size=int(own.integers(2, 5)), replace=False).tolist()
        nodes = np.array([_BARS[b] for b in bars])
        return Letter(
            _NODES[nodes], _NODES[own.choice(12, size=int(own.integers(0, 3)), replace=False)]
        )

    def render(self, params: Letter, rng: Rng, px: int) -> Image.Image:
        """The sign upright, in a random weight and slant."""
        ink, paper = contrasting_pair(rng)
        canvas = Canvas(
            px,
            paper,
            Pose.random(rng, scale=(0.8, 1.05), turn=0.1, shift=0.12, stretch=0.2, shear=0.15),
        )
        canvas.clutter(rng, int(rng.integers(0, 4)), near=paper, spread=0.07)
        width = rng.uniform(0.08, 0.24)
        shadow = shade(ink, 0.6) if rng.random() < 0.3 else None
        wobble = rng.normal(0, 0.03, (len(params.bars), 2, 2))
        if shadow is not None:
            for bar in params.bars + wobble:
                canvas.line(bar + 0.07, width, shadow)
        for bar in params.bars + wobble:
            canvas.line(bar, width, ink)
        for dot in params.dots:
            canvas.polygon(moved(circle(12) * (width * 0.9), *dot), ink)
        return canvas.finish(rng)


class Flag(NamedTuple):
    """What makes a class: bands with an emblem. Lengths in unit coordinates unless said."""

    bands: list[RGB]
    kind: str  # "horizontal", "vertical", "diagonal", "canton"
    emblem: np.ndarray  # [N, 2]
    emblem_colour: RGB


class Flags:
    """Bands and an emblem.

    Colours, their order and direction, and the emblem decide; waving, light and ground are noise.
    """

    def draw_class(self, genus: Rng, own: Rng) -> Flag:
        """Direction of the bands from the genus; their colours and the emblem are own."""
        kind = ("horizontal", "vertical", "diagonal", "canton")[int(genus.integers(4))]
        hues = [0.0, 0.05, 0.13, 0.35, 0.55, 0.63, 0.8]
        bands = [
            hsv(float(own.choice(hues)), float(own.choice([0.0, 0.6, 0.95])), own.uniform(0.3, 1))
            for _ in range(int(own.integers(2, 5)))
        ]
        sides, size = int(own.integers(3, 8)), own.uniform(0.18, 0.42)
        emblem = (
            circle(20)
            if own.random() < 0.3
            else star(sides, float(own.choice([0.4, math.cos(math.pi / sides)])))
        )
        where = (float(own.choice([-0.5, 0.0, 0.5])), float(own.choice([-0.25, 0.0, 0.25])))
        return Flag(
            bands, kind, moved(emblem * size, *where), random_colour(own, (0.0, 1.0), (0.0, 1.0))
        )

    def render(self, params: Flag, rng: Rng, px: int) -> Image.Image:
        """The flag against the sky, waving."""
        sky = random_colour(rng, (0.2, 1.0), (0.0, 0.8))
        canvas = Canvas(
            px,
            sky,
            Pose.random(rng, scale=(0.65, 1.0), turn=0.35, shift=0.15, stretch=0.3, shear=0.25),
        )
        canvas.clutter(rng, int(rng.integers(1, 5)), near=sky)
        height, wave, phase = 0.65, rng.uniform(0, 0.12), rng.uniform(0, 6.3)
        tones = [jitter(band, rng, 0.03) for band in params.bands]

        def waved(outline: np.ndarray) -> np.ndarray:
            return outline + np.stack(
                [np.zeros(len(outline)), wave * np.sin(2.5 * outline[:, 0] + phase)], axis=1
            )

        def band(left: float, top: float, right: float, bottom: float, fill: RGB) -> None:
            x = np.linspace(left, right, 8)
            canvas.polygon(
                waved(
                    np.concatenate(
                        [
                            np.stack([x, np.full(8, top)], 1),
                            np.stack([x[::-1], np.full(8, bottom)], 1),
                        ]
                    )
                ),
                fill,
            )

        n = len(tones)
        for i, tone in enumerate(tones):
            if params.kind == "vertical":
                band(-1 + 2 * i / n, -height, -1 + 2 * (i + 1) / n, height, tone)
            else:
                band(-1, height * (2 * i / n - 1), 1, height * (2 * (i + 1) / n - 1), tone)
        if params.kind == "diagonal":
            canvas.polygon(waved(np.array([(-1, -height), (-0.2, 0), (-1, height)])), tones[0])
        elif params.kind == "canton":
            band(-1, -height, -0.1, 0, shade(tones[-1], 0.5))
        canvas.polygon(waved(params.emblem), params.emblem_colour)
        return canvas.finish(rng, light=0.3)
