"""`udonx evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from udonx.cli.arguments import TableForm
from udonx.config.selection import Plugins
from udonx.running.options import DEFAULTS, DeviceName, ResultsFolder

Models = Annotated[
    tuple[str, ...],
    Parameter(
        name="MODEL",
        help="folders of results/stages, exported folders, or backbones off the shelf"
        " (SETTING:ROLE, a model of timm, a folder in its layout); the first is compared with",
    ),
]
Data = Annotated[
    Path | None,
    Parameter(metavar="DIR", help="the images: UnED's layout, or <domain>/<class>/<image>"),
]
Source = Annotated[
    str | None,
    Parameter(metavar="NAME", help="how DIR is read (default: uned or folders, as it looks)"),
]
Domains = Annotated[
    tuple[str, ...],
    Parameter("--domain", metavar="NAME", help="only this domain (may be repeated)"),
]
Metrics = Annotated[
    tuple[str, ...],
    Parameter(
        converter=lambda _, tokens: tuple(tokens[0].value.split(",")),
        n_tokens=1,
        metavar="r1,map_r",
        help="the columns (default: r1,mmp5)",
    ),
]
Weights = Annotated[
    Path | None,
    Parameter(metavar="DIR", help="where start weights of backbones are looked up first"),
]
Branch = Annotated[
    Literal["student", "teacher", "feature"] | None,
    Parameter(help="what embeds (default: the student, else what the stage trained)"),
]
Tta = Annotated[
    Literal["none", "flip"],
    Parameter(help="flip: the mean over each image and its mirror image (default: none)"),
]
Workers = Annotated[
    int | None,
    Parameter(metavar="N", help="threads that load images (default: the cores, at most 8)"),
]


def evaluate(
    models: Models,
    /,
    *,
    data: Data = None,
    source: Source = None,
    domains: Domains = (),
    metrics: Metrics = ("r1", "mmp5"),
    weights: Weights = None,
    branch: Branch = None,
    tta: Tta = "none",
    form: TableForm = "text",
    results: ResultsFolder = DEFAULTS.results,
    device: DeviceName = None,
    workers: Workers = None,
    plugins: Plugins = (),
) -> None:
    """Print the table of the models on these data."""
    from udonx.running.evaluate import evaluate as evaluate_models

    table = evaluate_models(
        models,
        data=data,
        source=source,
        domains=domains,
        metrics=metrics,
        weights=weights,
        branch=branch,
        tta=tta,
        results=results,
        device=device,
        workers=workers,
        plugins=plugins,
    )
    print(table.to(form))
