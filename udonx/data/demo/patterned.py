"""Demo families whose class is a pattern: plates, textures, facades, garments."""

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


class Plate(NamedTuple):
    """What makes a class: a dish of coloured blobs. Lengths in unit coordinates unless said."""

    colours: list[RGB]
    shares: np.ndarray  # how often each colour occurs, [len(colours)]


class Plates:
    """Dishes of coloured blobs.

    The colours and their shares decide; where the blobs lie, their shape, size and number are
    noise.
    """

    def draw_class(self, genus: Rng, own: Rng) -> Plate:
        """Two colours near those of the genus, one or two own ones, and the share of each."""
        colours = [
            hsv(genus.random() + own.normal(0, 0.04), own.uniform(0.4, 1), own.uniform(0.3, 1))
            for _ in range(2)
        ]
        colours += [
            hsv(own.random(), own.uniform(0.2, 1), own.uniform(0.25, 1))
            for _ in range(int(own.integers(1, 3)))
        ]
        return Plate(colours, own.dirichlet(np.full(len(colours), 3.0)))

    def render(self, params: Plate, rng: Rng, px: int) -> Image.Image:
        """The dish on a table, with blobs in random places."""
        table = random_colour(rng, (0.2, 0.9), (0.0, 0.35))
        canvas = Canvas(
            px, table, Pose.random(rng, scale=(0.95, 1.1), shift=0.08, stretch=0.2, turn=math.pi)
        )
        canvas.clutter(rng, int(rng.integers(1, 4)), near=table)
        dish = hsv(rng.random(), rng.uniform(0, 0.12), rng.uniform(0.8, 1))
        canvas.polygon(circle(28), shade(dish, 0.85))
        canvas.polygon(circle(28) * 0.86, dish)
        # the cook's colours differ a little from day to day, beside the light
        warm = np.exp(rng.normal(0, 0.03, 3))
        for which in rng.choice(
            len(params.colours), size=int(rng.integers(18, 32)), p=params.shares
        ):
            radius, angle = 0.66 * math.sqrt(rng.random()), rng.uniform(0, 2 * math.pi)
            outline = harmonic_outline(
                rng.normal(0, 0.12, 3), rng.uniform(0, 6.3, 3), points=14
            ) * rng.uniform(0.16, 0.3)
            r, g, b = (
                int(min(c * w, 255))
                for c, w in zip(jitter(params.colours[which], rng, 0.03), warm, strict=True)
            )
            canvas.polygon(
                moved(outline, radius * math.cos(angle), radius * math.sin(angle)), (r, g, b)
            )
        return canvas.finish(rng, light=0.15, cast=0.025)


class Texture(NamedTuple):
    """What makes a class: two waves. Lengths in unit coordinates unless said."""

    angles: np.ndarray  # of the waves, [2]
    cycles: np.ndarray  # across the picture, [2]
    weights: np.ndarray  # [2]
    sharpness: float  # 1 sinusoid ... 4 nearly square
    wobble: float  # how much the waves bend


class Textures:
    """Two plane waves, laid over each other.

    Angles and frequencies decide; colours, phases, contrast and shadows are noise.
    """

    def draw_class(self, genus: Rng, own: Rng) -> Texture:
        """Angles and frequencies near those of the genus; weights, sharpness and bend are own."""
        angles = genus.uniform(0, math.pi, 2) + own.normal(0, 0.22, 2)
        cycles = np.exp(genus.uniform(math.log(2.5), math.log(10), 2) + own.normal(0, 0.14, 2))
        second = own.uniform(0.35, 1.0)
        return Texture(
            angles,
            cycles,
            np.array([1.0, second]) / (1 + second),
            own.uniform(1, 4),
            own.uniform(0, 0.8),
        )

    def render(self, params: Texture, rng: Rng, px: int) -> Image.Image:
        """The waves in random phases and colours."""
        x, y = grid(px)
        angles = params.angles + rng.normal(0, 0.05, 2)
        cycles = params.cycles * np.exp(rng.normal(0, 0.06))
        bend = params.wobble * np.sin(
            2.5 * (x * math.cos(rng.uniform(0, 6.3)) + y) + rng.uniform(0, 6.3)
        )
        wave = np.zeros_like(x)
        for angle, cycle, weight in zip(
            angles.tolist(), cycles.tolist(), params.weights.tolist(), strict=True
        ):
            phase = (
                math.pi * cycle * (x * math.cos(angle) + y * math.sin(angle))
                + rng.uniform(0, 2 * math.pi)
                + bend
            )
            wave += weight * np.tanh(params.sharpness * np.sin(phase)) / math.tanh(params.sharpness)
        low, high = (np.array(c, dtype=np.float32) / 255 for c in contrasting_pair(rng, 0.35))
        mix = 0.5 + 0.5 * wave * rng.uniform(0.55, 1)
        shadow = 1 - rng.uniform(0, 0.5) * np.exp(
            -4 * ((x - rng.uniform(-1, 1)) ** 2 + (y - rng.uniform(-1, 1)) ** 2)
        )
        picture = low + (high - low) * mix[..., None]
        return photograph(picture * shadow[..., None], rng, noise=0.045)


class Facade(NamedTuple):
    """What makes a class: a house front. Lengths in unit coordinates unless said."""

    rows: int
    columns: int
    window: tuple[float, float]  # width and height in parts of a cell
    arched: bool
    roof: float  # height; negative is flat with an attic
    door: int  # column
    width: float


class Facades:
    """House fronts.

    Storeys, windows per storey, their form, roof and door decide; paint, sky, hour and viewpoint
    are noise.
    """

    def draw_class(self, genus: Rng, own: Rng) -> Facade:
        """Roof, arches and width of windows from the genus; storeys, columns and door are own."""
        columns = int(own.integers(2, 6))
        return Facade(
            rows=int(own.integers(2, 6)),
            columns=columns,
            window=(genus.uniform(0.35, 0.75), own.uniform(0.35, 0.8)),
            arched=bool(genus.random() < 0.4),
            roof=float(genus.choice([-0.1, 0.0, 0.25, 0.45])),
            door=int(own.integers(columns)),
            width=own.uniform(0.55, 0.9),
        )

    def render(self, params: Facade, rng: Rng, px: int) -> Image.Image:
        """The house before the sky, in random paint."""
        sky, wall, roof = (random_colour(rng, (0.4, 1.0), (0.0, 0.6)) for _ in range(3))
        pane = shade(wall, rng.uniform(0.25, 0.5))
        canvas = Canvas(
            px,
            sky,
            Pose.random(rng, scale=(0.85, 1.0), turn=0.06, shift=0.08, stretch=0.12, shear=0.12),
        )
        canvas.clutter(rng, int(rng.integers(1, 4)), near=sky)
        w, top, bottom = params.width, -0.45, 0.95
        canvas.polygon(box(-w, top, w, bottom), wall)
        if params.roof > 0:
            canvas.polygon(
                np.array([(-w * 1.1, top), (0, top - params.roof), (w * 1.1, top)]), roof
            )
        else:
            canvas.polygon(box(-w * 1.05, top + params.roof - 0.08, w * 1.05, top), roof)
        cell_w, cell_h = 2 * w / params.columns, (bottom - top) / params.rows
        half = params.window[0] * cell_w / 2, params.window[1] * cell_h / 2
        for row in range(params.rows):
            for column in range(params.columns):
                x, y = -w + (column + 0.5) * cell_w, top + (row + 0.5) * cell_h
                lit = hsv(0.13, 0.5, 1.0) if rng.random() < 0.12 else pane
                if row == params.rows - 1 and column == params.door:
                    canvas.polygon(
                        box(x - half[0], y - half[1], x + half[0], bottom), shade(roof, 0.8)
                    )
                    continue
                canvas.polygon(box(x - half[0], y - half[1], x + half[0], y + half[1]), lit)
                if params.arched:
                    canvas.polygon(ellipse(x, y - half[1], half[0], half[0], points=12), lit)
        for _ in range(int(rng.integers(0, 3))):  # trees in front
            x, size = rng.uniform(-1, 1), rng.uniform(0.15, 0.35)
            canvas.polygon(
                ellipse(x, 0.95 - size, size * 0.7, size, points=12),
                hsv(rng.normal(0.3, 0.04), 0.6, rng.uniform(0.2, 0.6)),
            )
        return canvas.finish(rng, light=0.25, cast=0.06)


class Garment(NamedTuple):
    """What makes a class: a striped top. Lengths in unit coordinates unless said."""

    # sleeve length, body length, waist, hem, in unit coordinates
    cut: tuple[float, float, float, float]
    stripes: list[RGB]
    widths: np.ndarray  # parts of one repeat, [len(stripes)]
    repeat: float  # length of one repeat


class Garments:
    """Striped tops.

    The order, colours and widths of the stripes decide, then the cut; how the cloth is turned and
    folded is noise.
    """

    def draw_class(self, genus: Rng, own: Rng) -> Garment:
        """Sleeves, length and first hue from the genus; waist, hem and other stripes are own."""
        cut = (
            float(genus.choice([0.0, 0.25, 0.6])),
            genus.uniform(0.55, 0.95),
            own.uniform(0.3, 0.5),
            own.uniform(0.35, 0.65),
        )
        first = hsv(
            genus.random() + own.normal(0, 0.03), own.uniform(0.3, 1), own.uniform(0.3, 0.95)
        )
        others = [
            hsv(own.random(), own.uniform(0, 0.9), own.uniform(0.1, 1))
            for _ in range(int(own.integers(1, 3)))
        ]
        return Garment(
            cut,
            [first, *others],
            own.dirichlet(np.full(1 + len(others), 5.0)),
            own.uniform(0.2, 0.6),
        )

    def render(self, params: Garment, rng: Rng, px: int) -> Image.Image:
        """The top on plain ground, cut from turned cloth."""
        ground = random_colour(rng, (0.2, 1.0), (0.0, 0.4))
        pose = Pose.random(
            rng, scale=(0.85, 1.05), turn=0.25, shift=0.1, stretch=0.15, shear=0.1, mirror=True
        )
        backdrop = Canvas(px, ground, pose)
        backdrop.clutter(rng, int(rng.integers(1, 5)), near=ground)
        # The cloth is drawn as a full sheet of stripes, then cut out with a stencil: the stripes'
        # turn is free of the cut's.
        cloth = Canvas(px, params.stripes[0], Pose.random(rng, scale=(0.9, 1.1), turn=0.9))
        drift = rng.normal(0, 0.03)
        edge = -2 - rng.uniform(0, params.repeat)
        tones = [shade(jitter(c, rng, 0.03), 1 + drift) for c in params.stripes]
        while edge < 2:
            for tone, width in zip(tones, params.widths.tolist(), strict=True):
                thick = width * params.repeat
                cloth.polygon(box(-2, edge, 2, edge + thick), tone)
                edge += thick
        stencil = Canvas(px, (0, 0, 0), pose)
        for part in self._parts(params.cut, rng.normal(0, 0.12)):
            stencil.polygon(part, (255, 255, 255))
        backdrop.image.paste(cloth.image, mask=stencil.image.getchannel(0))
        for _ in range(int(rng.integers(0, 3))):  # folds
            x, y = rng.uniform(-0.3, 0.3), rng.uniform(-0.4, 0.4)
            backdrop.line(
                np.array([(x, y), (x + rng.normal(0, 0.1), y + 0.4)]),
                0.04,
                shade(params.stripes[0], 0.5),
            )
        return backdrop.finish(rng, light=0.2, cast=0.03)

    @staticmethod
    def _parts(cut: tuple[float, float, float, float], lift: float) -> list[np.ndarray]:
        sleeve, length, waist, hem = cut
        bottom = -0.75 + 1.7 * length
        shoulders = [(-0.5, -0.75), (-0.2, -0.8), (0, -0.66), (0.2, -0.8), (0.5, -0.75)]
        body = np.array(
            [*shoulders, (waist, -0.05), (hem, bottom), (-hem, bottom), (-waist, -0.05)]
        )
        if not sleeve:
            return [body]
        x, y = 0.45 + 0.75 * sleeve, -0.5 + 0.8 * sleeve + lift * sleeve
        arm = np.array(
            [(0.42, -0.75), (0.55, -0.72), (x + 0.12, y - 0.05), (x - 0.1, y + 0.08), (0.38, -0.3)]
        )
        return [body, arm, arm * (-1, 1)]
