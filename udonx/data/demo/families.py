"""The families of pictures, one per domain, with their sizes.

A family draws a class, then any number of pictures of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from PIL import Image

from udonx.data.demo.drawn import Flowers, Glyphs, Logos, Silhouettes
from udonx.data.demo.figures import Creatures, Faces, Terrains, Trees
from udonx.data.demo.patterned import Facades, Garments, Plates, Textures
from udonx.data.demo.signs import Flags, Gears, Letters, Mazes

P = TypeVar("P")


class Family(Protocol[P]):
    """A family of picture classes."""

    def draw_class(self, genus: np.random.Generator, own: np.random.Generator) -> P:
        """Draw what sets a class apart.

        Args:
            genus: shared with a few sister classes, so that some classes are easily confused.
            own: the generator of this class alone.
        """

    def render(self, params: P, rng: np.random.Generator, px: int) -> Image.Image:
        """Draw one RGB picture of a class, `px` x `px`.

        Args:
            params: the class, from `draw_class`.
            rng: where all else about the picture comes from.
            px: edge of the picture in pixels.
        """


@dataclass(frozen=True)
class Split:
    """How many classes and how many images in all a split has."""

    classes: int
    images: int


@dataclass(frozen=True)
class Domain:
    """One domain: its family, a line about it, and its sizes.

    Attributes:
        family: what it shows.
        about: a line about it.
        genera: into how many kinds its classes fall.
        train: its size.
        val: its size.
        test: its size.
        tail: exponent of the power law of images per class (0: all classes are equal).
        has_index: whether a third of each test class are queries against the rest (`index.json`),
            as in UnED's inshop and met.
    """

    family: Family[Any]
    about: str
    genera: int
    train: Split
    val: Split
    test: Split
    tail: float = 0.6
    has_index: bool = False


# Test splits are large because looking at them is cheap: four times the queries halve an interval.
# They may grow without a new GENERATOR_VERSION: a picture depends on its class and number alone,
# and train and val stay as they are.
DEMO: dict[str, Domain] = {
    "glyphs": Domain(
        Glyphs(),
        "handwritten signs: strokes decide, colour is noise",
        80,
        Split(320, 3600),
        Split(42, 220),
        Split(184, 2240),
    ),
    "silhouettes": Domain(
        Silhouettes(),
        "solid shapes: outline decides, colour and turn are noise",
        100,
        Split(150, 1800),
        Split(28, 150),
        Split(120, 1600),
    ),
    "plates": Domain(
        Plates(),
        "dishes of blobs: colours decide, layout is noise",
        40,
        Split(120, 2800),
        Split(32, 200),
        Split(136, 1920),
    ),
    "textures": Domain(
        Textures(),
        "waves: angle and frequency decide, colour is noise",
        14,
        Split(40, 1500),
        Split(20, 110),
        Split(80, 1200),
    ),
    "logos": Domain(
        Logos(),
        "emblems: shapes, layout and colours decide",
        70,
        Split(240, 2200),
        Split(36, 190),
        Split(152, 1840),
        has_index=True,
    ),
    "facades": Domain(
        Facades(),
        "house fronts: counts and forms decide, paint is noise",
        30,
        Split(32, 360),
        Split(12, 60),
        Split(48, 640),
    ),
    "flowers": Domain(
        Flowers(),
        "blossoms: petals and hue decide, turn is noise",
        20,
        Split(60, 1000),
        Split(18, 100),
        Split(72, 960),
    ),
    "garments": Domain(
        Garments(),
        "striped tops: colours of the stripes decide",
        50,
        Split(140, 1740),
        Split(32, 170),
        Split(120, 1600),
        has_index=True,
    ),
}

PRETRAIN_CLASSES = 250
PRETRAIN_IMAGES_PER_CLASS = 40


def _pretrain(family: Family[Any], about: str) -> Domain:
    train = Split(PRETRAIN_CLASSES, PRETRAIN_CLASSES * PRETRAIN_IMAGES_PER_CLASS)
    return Domain(family, about, 200, train, Split(20, 120), Split(30, 240), tail=0.0)


PRETRAIN: dict[str, Domain] = {
    "mazes": _pretrain(Mazes(), "grids of blocks: layout, and the colour of a few"),
    "gears": _pretrain(Gears(), "toothed wheels: counts and forms; colour and turn are noise"),
    "letters": _pretrain(Letters(), "signs of straight segments, upright"),
    "flags": _pretrain(Flags(), "bands and emblems: colours, order, direction"),
    "creatures": _pretrain(Creatures(), "beasts: outline, counts of limbs, coat"),
    "faces": _pretrain(Faces(), "cartoon faces: hair, eyes, nose, mouth"),
    "trees": _pretrain(Trees(), "branching plants: angles, lengths, leaves"),
    "terrains": _pretrain(
        Terrains(), "maps of blobs: size, angle and form of the grain; colour is noise"
    ),
}
