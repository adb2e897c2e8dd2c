"""Demo families whose class is a drawing: glyphs, silhouettes, logos, flowers."""

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
    curve,
    ellipse,
    harmonic_outline,
    hsv,
    jitter,
    moved,
    random_colour,
    shade,
    star,
    turned,
)


class Glyph(NamedTuple):
    """What makes a class: a handwritten sign. Lengths in unit coordinates unless said."""

    strokes: list[np.ndarray]  # control points of quadratic curves, each [3, 2]


class Glyphs:
    """Handwritten signs.

    The strokes decide; ink, paper and pen are noise, and so is a small slant (a large turn would be
    another sign).
    """

    def draw_class(self, genus: Rng, own: Rng) -> Glyph:
        """Two or three strokes of the genus, one of them replaced by an own one, and one more."""
        strokes = [self._stroke(genus) for _ in range(int(genus.integers(2, 4)))]
        strokes[int(own.integers(len(strokes)))] = self._stroke(own)
        strokes.append(self._stroke(own))
        return Glyph([s + own.normal(0, 0.08, (3, 2)) for s in strokes])

    @staticmethod
    def _stroke(rng: Rng) -> np.ndarray:
        # Ends on a coarse grid and far enough apart, so that a stroke is neither a dot nor nearly
        # another one.
        while True:
            ends = rng.integers(-2, 3, (2, 2)) / 2.6
            if np.abs(ends[0] - ends[1]).max() > 0.7:
                break
        bend = ends.mean(0) + rng.uniform(-1, 1, 2) * (0.7 if rng.random() < 0.6 else 0.05)
        return np.stack([ends[0], bend, ends[1]])

    def render(self, params: Glyph, rng: Rng, px: int) -> Image.Image:
        """The sign in a random ink, on a random paper, with a pen of random width."""
        ink, paper = contrasting_pair(rng)
        pose = Pose.random(rng, scale=(0.75, 0.95), turn=0.12, shift=0.1, stretch=0.2, shear=0.15)
        canvas = Canvas(px, paper, pose)
        canvas.clutter(rng, int(rng.integers(0, 3)), near=paper, spread=0.06)
        width = rng.uniform(0.07, 0.2)
        for stroke in params.strokes:
            canvas.line(
                curve(stroke + rng.normal(0, 0.045, (3, 2))), width * rng.uniform(0.85, 1.15), ink
            )
        return canvas.finish(rng)


class Silhouette(NamedTuple):
    """What makes a class: a solid shape. Lengths in unit coordinates unless said."""

    outline: np.ndarray  # [40, 2]
    hole: np.ndarray | None  # [20, 2]


class Silhouettes:
    """Solid shapes, some with a hole.

    The outline decides; colour, the pattern inside, turn and a mirror image are noise.
    """

    def draw_class(self, genus: Rng, own: Rng) -> Silhouette:
        """An outline near that of the genus, and an own hole in about a third of the classes."""
        amplitudes = genus.normal(0, 1, 6) * (0.34, 0.26, 0.2, 0.14, 0.1, 0.08)
        phases = genus.uniform(0, 2 * math.pi, 6)
        amplitudes = amplitudes + own.normal(0, 0.16, 6)
        outline = harmonic_outline(amplitudes, phases + own.normal(0, 0.8, 6))
        hole = None
        if own.random() < 0.35:
            x, y = own.uniform(-0.2, 0.2, 2)
            hole = ellipse(x, y, own.uniform(0.15, 0.28), own.uniform(0.15, 0.28))
        return Silhouette(outline, hole)

    def render(self, params: Silhouette, rng: Rng, px: int) -> Image.Image:
        """The shape in one colour, with a few spots inside."""
        body, ground = contrasting_pair(rng)
        pose = Pose.random(rng, scale=(0.75, 0.95), turn=0.6, shift=0.08, stretch=0.1, mirror=True)
        canvas = Canvas(px, ground, pose)
        canvas.clutter(rng, int(rng.integers(0, 4)), near=ground, spread=0.08)
        canvas.polygon(params.outline + rng.normal(0, 0.012, params.outline.shape), body)
        for _ in range(int(rng.integers(0, 4))):  # spots that stay well inside
            x, y = rng.uniform(-0.3, 0.3, 2)
            spot = ellipse(x, y, rng.uniform(0.06, 0.16), 0.1, points=10)
            canvas.polygon(spot, jitter(body, rng, 0.06))
        if params.hole is not None:
            canvas.polygon(params.hole, ground)
        return canvas.finish(rng)


_FIELDS = {
    "disc": circle(24),
    "square": box(-0.85, -0.85, 0.85, 0.85),
    "diamond": star(4, 0.72),
    "banner": box(-1.3, -0.75, 1.3, 0.75),
}


class Logo(NamedTuple):
    """What makes a class: an emblem on a plate. Lengths in unit coordinates unless said."""

    field: str  # outline of the plate behind, a key of _FIELDS
    marks: list[tuple[np.ndarray, int]]  # outline [N, 2] and which of the colours fills it
    colours: list[RGB]  # the plate's, then the marks'


def _shifted(colour: RGB, drift: np.ndarray) -> RGB:
    """The colour with something added to each channel."""
    r, g, b = (int(v) for v in np.clip(np.array(colour) + drift, 0, 255))
    return r, g, b


class Logos:
    """Emblems of a plate and a few marks.

    Shapes, layout and colours together decide; some prints are negative or off in hue.
    """

    def draw_class(self, genus: Rng, own: Rng) -> Logo:
        """A plate and a mark of the genus, one or two own marks, and mostly own colours."""
        field = list(_FIELDS)[int(genus.integers(4))]
        hue = genus.random()
        colours = [hsv(hue + own.normal(0, 0.07), own.uniform(0.4, 1), own.uniform(0.25, 0.6))]
        colours += [hsv(own.random(), own.uniform(0, 0.9), own.uniform(0.75, 1)) for _ in range(2)]
        marks = [(self._mark(genus), 1)]
        marks += [
            (self._mark(own), int(own.integers(1, 3))) for _ in range(int(own.integers(1, 3)))
        ]
        return Logo(field, marks, colours)

    @staticmethod
    def _mark(rng: Rng) -> np.ndarray:
        kind, size, where = rng.integers(5), rng.uniform(0.2, 0.42), rng.uniform(-0.38, 0.38, 2)
        angle = float(rng.integers(8)) * math.pi / 4
        if kind == 0:
            shape = circle(20)
        elif kind == 1:
            shape = star(int(rng.integers(3, 7)), 0.42, angle)
        elif kind == 2:
            sides = int(rng.integers(3, 5))
            shape = star(sides, math.cos(math.pi / sides), angle)
        elif kind == 3:
            shape = turned(
                np.array([(-1.3, -0.35), (1.3, -0.35), (1.3, 0.35), (-1.3, 0.35)]), angle
            )
        else:  # a crescent
            shape = turned(np.concatenate([circle(20)[:11], circle(20)[10::-1] * (1, 0.35)]), angle)
        return moved(shape * size, *where)

    def render(self, params: Logo, rng: Rng, px: int) -> Image.Image:
        """The emblem on a wall, printed slightly off in hue, now and then in exchanged colours."""
        wall = random_colour(rng, saturation=(0.0, 0.6))
        canvas = Canvas(
            px,
            wall,
            Pose.random(rng, scale=(0.72, 0.92), turn=0.2, shift=0.12, stretch=0.15, shear=0.12),
        )
        canvas.clutter(rng, int(rng.integers(1, 5)))
        drift = rng.normal(0, 0.035, 3) * 255
        plate, *inks = [_shifted(colour, drift) for colour in params.colours]
        if rng.random() < 0.12:
            plate, inks = inks[0], [plate, inks[1]]
        canvas.polygon(_FIELDS[params.field], plate)
        for mark, ink in params.marks:
            canvas.polygon(mark, inks[ink - 1])
        if rng.random() < 0.25:
            canvas.clutter(rng, 1)
        return canvas.finish(rng)


class Flower(NamedTuple):
    """What makes a class: a blossom. Lengths in unit coordinates unless said."""

    petals: int
    width: float  # of a petal, in parts of its fair share of the circle
    tip: float  # 0 round ... 1 pointed
    inner: float  # radius of the heart
    rings: int
    hue: float
    saturation: float
    heart: RGB


class Flowers:
    """Blossoms seen from above.

    Number and form of the petals, the heart and a little the hue decide; any turn and tilt are
    noise.
    """

    def draw_class(self, genus: Rng, own: Rng) -> Flower:
        """Number of petals and hue near those of the genus; form of petals and heart are own."""
        hue = genus.choice([0.0, 0.08, 0.14, 0.62, 0.78, 0.9]) + own.normal(0, 0.02)
        return Flower(
            petals=int(np.clip(genus.integers(4, 11) + own.integers(-1, 2), 3, 11)),
            width=own.uniform(0.6, 1.35),
            tip=own.uniform(0, 1),
            inner=own.uniform(0.14, 0.38),
            rings=int(own.integers(1, 3)),
            hue=float(hue),
            saturation=own.uniform(0.15, 0.95),
            heart=hsv(float(own.choice([0.08, 0.14, 0.25, 0.95])), 0.8, own.uniform(0.3, 1)),
        )

    def render(self, params: Flower, rng: Rng, px: int) -> Image.Image:
        """The blossom on a meadow, under any turn and tilt."""
        meadow = hsv(rng.normal(0.3, 0.06), rng.uniform(0.3, 0.8), rng.uniform(0.15, 0.6))
        pose = Pose.random(rng, scale=(0.55, 0.95), turn=math.pi, shift=0.18, stretch=0.4)
        canvas = Canvas(px, meadow, pose)
        canvas.clutter(rng, int(rng.integers(3, 9)), near=meadow)
        colour = hsv(
            params.hue + rng.normal(0, 0.035),
            params.saturation + rng.normal(0, 0.08),
            rng.uniform(0.7, 1),
        )
        turn, step = rng.uniform(0, 2 * math.pi), 2 * math.pi / params.petals
        for ring in range(params.rings):
            petal = self._petal(params, 1 - 0.35 * ring)
            for i in range(params.petals):
                # Every other petal a little darker, so that neighbours can be told apart and
                # counted.
                tone = shade(
                    colour,
                    (0.82 if i % 2 else 1.0) * (0.8 if ring else 1.0) * rng.uniform(0.95, 1.05),
                )
                canvas.polygon(
                    turned(petal, turn + (i + 0.5 * ring) * step + rng.normal(0, 0.05)), tone
                )
        canvas.polygon(circle(20) * params.inner, params.heart)
        return canvas.finish(rng, light=0.25)

    @staticmethod
    def _petal(params: Flower, length: float) -> np.ndarray:
        # Widest nearer to the tip when round, nearer to the middle when pointed.
        along = np.array([0.0, 0.3, 0.6, 0.82, 0.95, 1.0])
        pointed = np.array([0.1, 0.75, 1.0, 0.55, 0.18, 0.0])
        rounded = np.array([0.1, 0.55, 0.95, 1.0, 0.7, 0.25])
        half = (
            (params.tip * pointed + (1 - params.tip) * rounded)
            * params.width
            * math.sin(math.pi / params.petals)
            * 0.75
        )
        side = np.stack([along, half], axis=1) * (length, 1)
        return np.concatenate([side, side[::-1] * (1, -1)])
