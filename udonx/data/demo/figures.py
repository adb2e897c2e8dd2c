"""Pre-training families of grown things: creatures, faces, trees, terrains."""

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
    ellipse,
    grid,
    harmonic_outline,
    hsv,
    jitter,
    moved,
    photograph,
    random_colour,
    shade,
)


class Creature(NamedTuple):
    """What makes a class: a beast. Lengths in unit coordinates unless said."""

    body: np.ndarray  # [N, 2]
    legs: int
    leg_length: float
    eyes: int
    horns: int
    spots: int
    coat: RGB
    mark: RGB


class Creatures:
    """Beasts.

    The body's outline, the numbers of legs, eyes and horns, and the coat decide; gait, view and
    light are noise.
    """

    def draw_class(self, genus: Rng, own: Rng) -> Creature:
        """Outline and hue of the genus; own proportions, legs, eyes, horns and spots."""
        outline = harmonic_outline(
            genus.normal(0, 1, 4) * (0.25, 0.15, 0.1, 0.06), genus.uniform(0, 6.3, 4)
        )
        outline = outline * (own.uniform(0.5, 0.8), own.uniform(0.35, 0.6))
        coat = hsv(genus.random() + own.normal(0, 0.08), own.uniform(0.2, 1), own.uniform(0.3, 1))
        return Creature(
            outline,
            int(own.integers(0, 6)),
            own.uniform(0.25, 0.5),
            int(own.integers(1, 4)),
            int(own.integers(0, 4)),
            int(own.choice([0, 0, 4, 8])),
            coat,
            random_colour(own),
        )

    def render(self, params: Creature, rng: Rng, px: int) -> Image.Image:
        """The beast on plain ground, seen from either side."""
        ground = random_colour(rng, (0.2, 1.0), (0.0, 0.8))
        canvas = Canvas(
            px,
            ground,
            Pose.random(
                rng, scale=(0.8, 1.1), turn=0.25, shift=0.12, stretch=0.2, shear=0.1, mirror=True
            ),
        )
        canvas.clutter(rng, int(rng.integers(1, 6)), near=ground)
        coat = jitter(params.coat, rng, 0.04)
        width, height = np.abs(params.body).max(0).tolist()
        for x in (
            np.linspace(-0.7, 0.7, params.legs) * width if params.legs > 1 else [0.0] * params.legs
        ):
            foot = (x + rng.normal(0, 0.1), height * 0.5 + params.leg_length)
            canvas.line(np.array([(x, height * 0.3), foot]), 0.11, shade(coat, 0.7))
        for x in np.linspace(-0.3, 0.3, params.horns) if params.horns > 1 else [0.0] * params.horns:
            canvas.polygon(
                np.array(
                    [
                        (x - 0.09, -height * 0.6),
                        (x * 1.6, -height - 0.28),
                        (x + 0.09, -height * 0.6),
                    ]
                ),
                params.mark,
            )
        canvas.polygon(params.body, coat)
        for _ in range(params.spots):
            spot_x, spot_y = rng.uniform(-0.6, 0.6, 2) * (width, height)
            canvas.polygon(ellipse(spot_x, spot_y, 0.08, 0.06, points=10), params.mark)
        for x in np.linspace(-0.2, 0.2, params.eyes) if params.eyes > 1 else [0.0]:
            canvas.polygon(ellipse(x, -height * 0.3, 0.1, 0.12, points=12), (245, 245, 240))
            canvas.polygon(
                ellipse(x + rng.normal(0, 0.02), -height * 0.3, 0.045, 0.055, points=10),
                (20, 20, 30),
            )
        return canvas.finish(rng)


class Face(NamedTuple):
    """What makes a class: a cartoon face. Lengths in unit coordinates unless said."""

    skin: RGB
    hair: RGB
    head: tuple[float, float]  # half axes
    style: int  # of the hair: 0 bald, 1 cap, 2 long, 3 tuft
    eye: tuple[float, float, float]  # size, distance, height
    iris: RGB
    brow: float
    nose: float
    mouth: tuple[float, float, float]  # width, smile, height
    beard: bool


class Faces:
    """Cartoon faces.

    Hair, form of the head, eyes, nose and mouth decide; how the head is held, its glance and the
    light are noise.
    """

    def draw_class(self, genus: Rng, own: Rng) -> Face:
        """Style of the hair and hue of the skin from the genus; all other features are own."""
        return Face(
            skin=hsv(
                genus.uniform(0.02, 0.12) + own.normal(0, 0.01),
                own.uniform(0.2, 0.65),
                own.uniform(0.4, 1),
            ),
            hair=random_colour(own, (0.05, 0.95), (0.1, 0.9)),
            head=(own.uniform(0.5, 0.75), own.uniform(0.65, 0.85)),
            style=int(genus.integers(4)),
            eye=(own.uniform(0.07, 0.17), own.uniform(0.2, 0.35), own.uniform(-0.25, 0.05)),
            iris=random_colour(own, (0.1, 0.8), (0.3, 1.0)),
            brow=own.uniform(-0.15, 0.15),
            nose=own.uniform(0.05, 0.35),
            mouth=(own.uniform(0.15, 0.38), own.uniform(-0.2, 0.3), own.uniform(0.35, 0.52)),
            beard=bool(own.random() < 0.25),
        )

    def render(self, params: Face, rng: Rng, px: int) -> Image.Image:
        """The face before a wall, at any distance."""
        wall = random_colour(rng, (0.1, 1.0), (0.0, 0.9))
        canvas = Canvas(
            px,
            wall,
            Pose.random(
                rng, scale=(0.75, 1.15), turn=0.35, shift=0.15, stretch=0.15, shear=0.1, mirror=True
            ),
        )
        canvas.clutter(rng, int(rng.integers(1, 6)), near=wall)
        skin, hair = jitter(params.skin, rng, 0.02), jitter(params.hair, rng, 0.03)
        w, h = params.head
        if params.style == 2:
            canvas.polygon(ellipse(0, 0.05, w * 1.25, h * 1.1), hair)
        canvas.polygon(ellipse(0, 0, w, h, points=28), skin)
        if params.beard:
            canvas.polygon(
                np.array(
                    [(-w * 0.9, 0.25), (w * 0.9, 0.25), (w * 0.55, h * 1.05), (-w * 0.55, h * 1.05)]
                ),
                hair,
            )
        if params.style == 3:
            canvas.polygon(np.array([(-0.25, -h * 0.8), (0.0, -h - 0.3), (0.25, -h * 0.8)]), hair)
        elif params.style:
            canvas.polygon(moved(circle(28)[14:] * (w * 1.05, h * 1.08), 0, -0.25 * h), hair)
        size, apart, height = params.eye
        glance = rng.normal(0, size * 0.25)
        for side in (-1, 1):
            x = side * apart
            canvas.polygon(ellipse(x, height, size, size * 0.8, points=14), (245, 245, 240))
            canvas.polygon(
                ellipse(x + glance, height, size * 0.5, size * 0.5, points=10), params.iris
            )
            brow, slope = height - size * 1.5, side * params.brow
            canvas.line(
                np.array([(x - size, brow - slope), (x + size, brow + slope)]),
                0.06,
                shade(hair, 0.6),
            )
        nose = height + 0.05 + params.nose
        canvas.line(
            np.array([(0, height + 0.05), (0.06, nose), (-0.04, nose + 0.01)]),
            0.05,
            shade(skin, 0.65),
        )
        width, smile, low = params.mouth
        across = np.linspace(-1, 1, 7)
        lips = np.stack([across * width, low + smile * (0.5 - across**2)], axis=1)
        canvas.line(lips, 0.08, (160, 40, 50))
        return canvas.finish(rng, light=0.3)


class Tree(NamedTuple):
    """What makes a class: a branching plant. Lengths in unit coordinates unless said."""

    angle: float  # between a branch and its twigs
    twigs: int  # per branch
    shrink: float
    lean: float
    depth: int
    leaf: RGB
    leaf_size: float
    bark: RGB


class Trees:
    """Branching plants.

    Angle and number of the twigs, their length and the leaves decide; wind, season's light and
    viewpoint are noise.
    """

    def draw_class(self, genus: Rng, own: Rng) -> Tree:
        """Number of twigs and hue of leaves from the genus; angles, lengths and bark are own."""
        twigs = int(genus.integers(2, 4))
        return Tree(
            angle=own.uniform(0.25, 1.1),
            twigs=twigs,
            shrink=own.uniform(0.55, 0.8),
            lean=own.uniform(-0.25, 0.25),
            depth=4 if twigs == 2 else 3,
            leaf=hsv(
                genus.choice([0.05, 0.12, 0.25, 0.35, 0.9]) + own.normal(0, 0.04),
                own.uniform(0.4, 1),
                own.uniform(0.35, 1),
            ),
            leaf_size=float(own.choice([0.0, 0.06, 0.1, 0.14])),
            bark=hsv(own.uniform(0, 0.15), own.uniform(0, 0.7), own.uniform(0.1, 0.5)),
        )

    def render(self, params: Tree, rng: Rng, px: int) -> Image.Image:
        """The plant against the sky."""
        sky = random_colour(rng, (0.5, 1.0), (0.0, 0.7))
        canvas = Canvas(
            px,
            sky,
            Pose.random(rng, scale=(0.7, 1.0), turn=0.2, shift=0.15, stretch=0.3, shear=0.15),
        )
        canvas.clutter(rng, int(rng.integers(0, 4)), near=sky, spread=0.07)
        canvas.polygon(
            box(-2, 0.85, 2, 3),
            hsv(rng.uniform(0.1, 0.4), rng.uniform(0.1, 0.7), rng.uniform(0.2, 0.7)),
        )
        branches, tips = self._grow(params, rng)
        for path, width in branches:
            canvas.line(path, width, params.bark)
        if params.leaf_size:
            for tip in tips:
                canvas.polygon(
                    circle(8) * (params.leaf_size * rng.uniform(0.8, 1.2)) + tip,
                    jitter(params.leaf, rng, 0.06),
                )
        return canvas.finish(rng, light=0.3)

    @staticmethod
    def _grow(params: Tree, rng: Rng) -> tuple[list[tuple[np.ndarray, float]], list[np.ndarray]]:
        branches: list[tuple[np.ndarray, float]] = []
        front = [(np.array([0.0, 0.9]), params.lean, 1.75 * (1 - params.shrink) + 0.15)]
        for level in range(params.depth):
            grown = []
            for base, angle, length in front:
                tip = moved(base, length * math.sin(angle), -length * math.cos(angle))
                branches.append((np.stack([base, tip]), 0.13 * 0.62**level))
                for turn in np.linspace(-params.angle, params.angle, params.twigs).tolist():
                    grown.append(
                        (
                            tip,
                            angle + turn + rng.normal(0, 0.08),
                            length * params.shrink * rng.uniform(0.85, 1.15),
                        )
                    )
            front = grown
        return branches, [base for base, _, _ in front]


class Terrain(NamedTuple):
    """What makes a class: a map of blobs. Lengths in unit coordinates unless said."""

    angle: float  # of the grain
    stretch: float  # of the grain along its angle
    cycles: float  # size of the grain
    ridged: bool  # veins rather than blobs
    levels: np.ndarray  # shares of the picture below each threshold between two colours, [1] or [2]


class Terrains:
    """Maps of blobs.

    Size, angle, length and form of the grain and the shares of the tones decide; colours and layout
    are noise.
    """

    def draw_class(self, genus: Rng, own: Rng) -> Terrain:
        """Size and form of the grain from the genus; angle, length and shares of tones are own."""
        levels = np.cumsum(own.dirichlet(np.full(int(own.integers(2, 4)), 4.0)))[:-1]
        return Terrain(
            angle=own.uniform(0, math.pi),
            stretch=float(np.exp(own.uniform(0.2, 1.5))),
            cycles=float(np.exp(genus.uniform(0.5, 1.7))),
            ridged=bool(genus.random() < 0.4),
            levels=levels,
        )

    def render(self, params: Terrain, rng: Rng, px: int) -> Image.Image:
        """A new map of the same grain, in random colours."""
        x, y = grid(px)
        turn = params.angle + rng.normal(0, 0.08)
        along, across = (
            x * math.cos(turn) + y * math.sin(turn),
            y * math.cos(turn) - x * math.sin(turn),
        )
        waves = 10
        direction = rng.uniform(0, 2 * math.pi, waves)
        cycles = params.cycles * np.exp(rng.normal(0, 0.25, waves)) * math.pi
        phase = np.multiply.outer(cycles * np.cos(direction) / params.stretch, along)
        phase += np.multiply.outer(cycles * np.sin(direction), across)
        field = np.cos(phase + rng.uniform(0, 2 * math.pi, waves)[:, None, None]).sum(0)
        if params.ridged:
            field = np.abs(field)
        # Levels are quantiles of the picture itself, so that the shares of the tones belong to the
        # class.
        which = np.digitize(field, np.quantile(field, params.levels))
        low, high = (np.array(c) / 255 for c in contrasting_pair(rng))
        palette = low + (high - low) * np.linspace(0, 1, len(params.levels) + 1)[:, None]
        return photograph(palette[which].astype(np.float32), rng, light=0.3)
