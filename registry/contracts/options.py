"""Tables of keys that a row may have: images, optimiser, schedule, average, budget, validation."""

from __future__ import annotations

from typing import Annotated, Literal

import attrs
from pydantic import Field

from registry.options import Cadence

Steps = Annotated[int | str, Cadence, Field(json_schema_extra={"unit": "steps"})]
"""A number of steps (`400`) or a share of the stage's own budget (`"20%"`, `"2/7"`)."""

Orientation = Literal["stored", "exif"]
Positive = Annotated[int, Field(gt=0)]
Pixels = Annotated[int, Field(gt=0, json_schema_extra={"unit": "pixels"})]
Rate = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(gt=0, le=1)]


def _stored_as_none(orientation: Orientation | None) -> Orientation | None:
    """None for "stored": identities leave None out, so that saying the default changes no id."""
    return None if orientation == "stored" else orientation


@attrs.frozen(kw_only=True)
class Transform:
    """Image sizes and augmentation; in evaluation the smaller edge is resized to `crop`.

    Then the centre is cut out. Every resize is bilinear, without antialiasing, as in the released
    UDON code.
    """

    mode: Annotated[
        Literal["resize_crop", "random_resized_crop"],
        Field(
            description=(
                "How a training image is cut: `resize_crop` resizes it to a square and takes a"
                " random crop; `random_resized_crop` cuts a random box and resizes that."
            )
        ),
    ] = "resize_crop"
    resize: Annotated[
        Pixels,
        Field(description="With `resize_crop`: edge of the square, whatever the aspect ratio."),
    ] = 256
    crop: Annotated[
        Pixels, Field(description="Edge of what the model sees, in training and evaluation.")
    ] = 224
    flip: Annotated[
        bool, Field(description="Mirrors half of the training images left to right.")
    ] = True
    scale: Annotated[
        tuple[Share, Share],
        Field(
            description="With `random_resized_crop`: smallest and largest box.",
            json_schema_extra={"unit": "share of the image's area"},
        ),
    ] = (0.25, 1.0)
    orientation: Annotated[
        Orientation | None,
        Field(
            description=(
                "Whether an image comes as it is `stored` (as in the released code; the default) or"
                " turned upright by its `exif` orientation, as phones expect."
            )
        ),
    ] = attrs.field(default=None, converter=_stored_as_none)


def _one_as_none(factor: float | None) -> float | None:
    """None for a factor of 1, which changes nothing, so that saying it changes no id."""
    return None if factor == 1 else factor


def _zero_as_none(rate: float | None) -> float | None:
    """None for a rate of 0, which changes nothing, so that saying it changes no id."""
    return None if rate == 0 else rate


@attrs.frozen(kw_only=True)
class Optimiser:
    """Two groups: heads with classifiers, and the backbone, which is frozen at first."""

    lr_heads: Annotated[
        Rate, Field(description="Learning rate of the heads, from the first step on.")
    ] = 1e-3
    lr_backbone: Annotated[
        Rate, Field(description="Learning rate of the backbone once it is no longer frozen.")
    ] = 1e-5
    weight_decay: Annotated[
        Rate,
        Field(
            description="Decoupled weight decay of all parameters; multiplied by the learning rate."
        ),
    ] = 1e-6
    beta1: Annotated[float, Field(ge=0, lt=1, description="Decay of Adam's first moment.")] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1, description="Decay of Adam's second moment.")] = 0.999
    eps: Annotated[float, Field(gt=0, description="Added to Adam's denominator.")] = 1e-8
    frozen: Annotated[Steps, Field(description="How long the backbone stays as it starts.")] = "20%"
    freeze: Annotated[
        Literal["no_grad", "zero_lr", "official"],
        Field(
            description=(
                "How it is held: `no_grad` runs no backward pass through it and starts its Adam"
                " count when it wakes; `zero_lr` computes gradients, so that its moments"
                " accumulate; `official` is `zero_lr` for one step more, as the released code"
                " counts."
            )
        ),
    ] = "no_grad"
    inactive_heads: Annotated[
        Literal["drift", "skip"],
        Field(
            description=(
                "Heads of the domains that are not in the batch: `drift` gives them zero gradients,"
                " so that momentum moves them (the released code); `skip` leaves them alone."
            )
        ),
    ] = "drift"
    layer_decay: Annotated[
        Annotated[float, Field(gt=0, le=1)] | None,
        Field(
            description=(
                "Factor on the backbone's learning rate from each layer to the one before it; the"
                " last layer has `lr_backbone`. Without it, as with 1, all layers have."
            )
        ),
    ] = attrs.field(default=None, converter=_one_as_none)
    anchor: Annotated[
        Rate | None,
        Field(
            description=(
                "Decoupled decay of the backbone's group towards the weights that the stage starts"
                " from; multiplied by the learning rate. Without it, as with 0, there is none."
            )
        ),
    ] = attrs.field(default=None, converter=_zero_as_none)


@attrs.frozen(kw_only=True)
class Schedule:
    """Learning rate over time: a factor on the rates of both groups."""

    use: Annotated[
        Literal["constant", "cosine"],
        Field(description="After the warm-up: `constant`, or `cosine` down to zero at the end."),
    ] = "constant"
    warm_up: Annotated[Steps, Field(description="How long the factor rises linearly to 1.")] = 0


@attrs.frozen(kw_only=True)
class Average:
    """The mean of the weights over the steps, which is then validated, kept and exported."""

    use: Annotated[
        Literal["none", "ema", "tail"],
        Field(
            description=(
                "`ema` is an exponential moving average, `tail` the plain mean of the steps after"
                " `start`; `none` keeps the weights of a step as they are."
            )
        ),
    ] = "none"
    decay: Annotated[
        Annotated[float, Field(ge=0, lt=1)],
        Field(description="With `ema`: the factor on the average of the step before."),
    ] = 0.999
    start: Annotated[
        Steps, Field(description="How long the average is still the weights of the last step.")
    ] = 0


@attrs.frozen(kw_only=True)
class Budget:
    """How long the student trains, in `steps` or `epochs`; teachers follow by `teacher_budget`."""

    steps: Annotated[
        Annotated[int, Field(gt=0, le=1_000_000_000)] | None,
        Field(description="Steps of the student.", json_schema_extra={"unit": "steps"}),
    ] = None
    epochs: Annotated[
        Annotated[float, Field(gt=0, le=1_000_000)] | None,
        Field(
            description=(
                "Instead of `steps`: an epoch is floor(training images of all domains / batch)"
                " steps."
            ),
            json_schema_extra={"unit": "epochs"},
        ),
    ] = None
    batch: Annotated[
        Positive,
        Field(
            description="Size of a batch, all of one domain.", json_schema_extra={"unit": "images"}
        ),
    ] = 128
    per_class: Annotated[
        Annotated[int, Field(ge=2)] | None,
        Field(
            description=(
                "Images of each class in a batch (P x K sampling): all classes come round alike,"
                " however many images they have; a class with fewer repeats them. Without it the"
                " images of a domain come round alike, of whatever class."
            ),
            json_schema_extra={"unit": "images"},
        ),
    ] = None
    scale: Annotated[
        float,
        Field(
            gt=0,
            le=1_000_000,
            description=(
                "Factor on the steps or epochs, by which a row changes what its setting says"
                " without repeating it."
            ),
        ),
    ] = 1.0


@attrs.frozen(kw_only=True)
class Subset:
    """Which training images a row sees, and which of their labels: drawn from the seed."""

    labelled: Annotated[
        Annotated[float, Field(gt=0, le=1)] | None,
        Field(
            description=(
                "The share of each class's images that keep their label, at least one of each"
                " class. The others are trained on by losses that read no label. Without it, as"
                " with 1, all do."
            ),
            json_schema_extra={"unit": "share"},
        ),
    ] = attrs.field(default=None, converter=_one_as_none)
    long_tail: Annotated[
        Annotated[float, Field(ge=1)] | None,
        Field(
            description=(
                "How many times as many images the largest class of a domain has as the smallest:"
                " the sizes in between fall exponentially, and the images beyond them are left out."
                " Without it, as with 1, all images stay."
            )
        ),
    ] = attrs.field(default=None, converter=_one_as_none)


@attrs.frozen(kw_only=True)
class Validation:
    """How the best step is chosen: by R@1 on the validation splits, the mean over domains."""

    every: Annotated[
        Steps, Field(description="How often the model is validated; the last step always is.")
    ] = "25%"
