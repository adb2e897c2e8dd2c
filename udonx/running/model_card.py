"""The model card of an export: what the model is, its data, its figures, how to load it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from registry.contracts import BackboneSpec, StageSpec
from registry.metrics import DEFAULTS
from registry.metrics import registry as metrics
from udonx.common.files import DamagedFileError, sha256_file
from udonx.engine.export import Export, WrittenFormat
from udonx.engine.exported_graph import MANIFEST
from udonx.inputs.weights import RANDOM, SHIPPED
from udonx.planning.stages import stage_title
from udonx.store.results import PerQueryError, Results, StoredEvaluation
from udonx.store.stage import StageFolder
from udonx.tables.bootstrap import paired_interval

CARD = "README.md"
_MARK = "<!-- written by udonx export -->"
_HEADER = """---
library_name: {library}
pipeline_tag: image-feature-extraction
tags: [udonx, image-retrieval, image-embedding]
---
"""
_WEIGHTS = "model.safetensors"


def is_model_card(text: str) -> bool:
    """Whether `describe_model` wrote a text."""
    return _MARK in text


def describe_model(
    folder: StageFolder, spec: StageSpec, export: Export, tta: Literal["flip"] | None
) -> str:
    """The model card of an export, in Markdown.

    Args:
        folder: the stage.
        spec: what it is.
        export: what was written.
        tta: how images are augmented in it.

    Raises:
        DamagedFileError: a file of the stage is damaged.
    """
    library = "timm" if any(each.name == "timm" for each in export.written) else "udonx"
    parts = [
        _HEADER.format(library=library) + _MARK,
        f"# {_title(folder)}",
        f"An image embedding: images of {export.crop} x {export.crop} pixels become vectors of unit"
        " length, whose inner products are cosine similarities.",
        _table(("", ""), _facts(folder, spec, export, tta)),
        "## Data",
        *_data(folder, spec),
        "## Figures",
        *_figures(folder, export.main.branch, tta),
        "## How to load it",
        *(part for each in export.written for part in _loading(each, export.crop)),
        "With udonx, any of them:",
        _code('import udonx\nvectors = udonx.load_model(".").embed(["photo.jpg"])'),
    ]
    return "\n\n".join(parts) + "\n"


# ------------------------------------------------------------------------------------- its parts


def _title(folder: StageFolder) -> str:
    identity = folder.read_model().id
    for run in _results(folder).runs():
        if run.stages and run.stages[-1] == identity:
            seed = "" if run.seed is None else f", seed {run.seed}"
            return f"{run.row}{seed}, of {run.file} (setting {run.setting})"
    return f"Stage {identity}"


def _facts(
    folder: StageFolder, spec: StageSpec, export: Export, tta: Literal["flip"] | None
) -> Iterator[tuple[str, str]]:
    embedding = f"{export.main.head or 'features of the backbone'}, {export.main.dim} dimensions"
    starts = {start.backbone.weights: _start_weights(start.backbone) for start in _starts(spec)}
    sources, licences = zip(*starts.values(), strict=True)
    yield "stage", f"`{folder.read_model().id}` ({stage_title(spec)})"
    yield "backbone", f"{spec.backbone.options.get('model', spec.backbone.use)}"
    yield "parameters", f"{export.parameters:,}, the head among them"
    yield "embedding", embedding
    if tta:
        yield "each embedding", "the mean over an image and its mirror image"
    yield (
        "orientation",
        ("turned upright by EXIF" if spec.transform.orientation == "exif" else "as stored"),
    )
    yield "mean, standard deviation of the colours", f"{spec.backbone.mean}, {spec.backbone.std}"
    yield "start weights", "; ".join(sources)
    yield "licence of the start weights", "; ".join(licences)


def _data(folder: StageFolder, spec: StageSpec) -> Iterator[str]:
    kept, done = folder.read_model(), folder.done
    if spec.training is None:
        yield "Nothing was trained in this stage."
    elif done is not None:
        validated = f"; validation R@1 {done.best_r1:.1%}" if done.best_r1 is not None else ""
        yield (
            f"Trained for {done.steps:,} steps on {done.images:,} images; the weights are those"
            f" after step {done.best_step:,}{validated}."
        )
    rows = (
        (domain, str(kept.classes.get(domain, "")), f"`{kept.data.get(domain, '')[:12]}`")
        for domain in spec.domains
    )
    if spec.domains:
        yield _table(("domain", "training classes", "fingerprint of the data"), rows)


def _figures(folder: StageFolder, branch: str, tta: str | None) -> Iterator[str]:
    """A table of test figures for each evaluation of what was exported."""
    count = 0
    for identity, stored in _evaluations(folder, branch, tta):
        index, figures = stored.figures(own_index=False)
        try:
            rows = list(_rows(_results(folder), identity, index, stored))
        except PerQueryError:
            continue  # `udonx run` says so, and makes it again
        count += 1
        searched = "the index images of all domains" if index == "merged" else "its own domain"
        yield (
            f"Test queries of {len(figures.per_domain)} domains, each searched in {searched}, in"
            " percent. In brackets 95 % intervals of a bootstrap over the queries, which say"
            " nothing of another training."
        )
        names = [name for name in DEFAULTS if name in figures.means]
        yield _table(("domain", "queries", *(metrics.get(name).label for name in names)), rows)
    if not count:
        yield "No evaluation of this embedding lies in the results folder of its stage."


def _rows(
    results: Results, identity: str, index: str, stored: StoredEvaluation
) -> Iterator[tuple[str, ...]]:
    """The domains of an evaluation and their mean, each figure with its interval."""
    queries = results.read_queries(identity, index)
    domain_Q = queries.read("domain")
    _, figures = stored.figures(own_index=index == "own")
    values = {name: queries.values(name) for name in DEFAULTS if name in figures.means}

    def cells(domains: Sequence[str]) -> list[str]:
        # whole numbers are hits, whose bootstrap is faster
        of_domains = {
            name: [
                (values_Q * 1 if values_Q.dtype == bool else values_Q)[domain_Q == domain][None]
                for domain in domains
            ]
            for name, values_Q in values.items()
        }
        return [_figure(parts) for parts in of_domains.values()]

    for domain, about in figures.per_domain.items():
        yield domain, f"{about.queries:,}", *cells([domain])
    total = sum(about.queries for about in figures.per_domain.values())
    yield "**mean over domains**", f"{total:,}", *cells(list(figures.per_domain))


def _figure(parts: Sequence[np.ndarray]) -> str:
    low, high = paired_interval(parts)
    mean = float(np.mean([part.mean() for part in parts]))
    return f"{100 * mean:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def _evaluations(
    folder: StageFolder, branch: str, tta: str | None
) -> Iterator[tuple[str, StoredEvaluation]]:
    """The evaluations of this stage alone, with this branch and augmentation."""
    results, identity = _results(folder), folder.read_model().id
    for file in sorted((results.root / "evaluations").glob("*/metrics.json")):
        try:
            stored = results.read_evaluation(file.parent.name)
        except DamagedFileError:
            continue  # `udonx run` says so, and makes it again
        if (
            stored is not None
            and {*stored.stages.values()} == {identity}
            and (stored.branch, stored.tta) == (branch, tta)
        ):
            yield file.parent.name, stored


def _results(folder: StageFolder) -> Results:
    return Results(folder.path.resolve().parent.parent)


def _starts(spec: StageSpec) -> Iterator[StageSpec]:
    """The stages whose start weights a stage goes back to: itself, or those that it starts from."""
    if spec.init is None:
        yield spec
        return
    for earlier in spec.init.stages:
        yield from _starts(earlier)


def _start_weights(backbone: BackboneSpec) -> tuple[str, str]:
    """What a backbone started from, and its licence as far as it is known."""
    sha256 = backbone.weights
    if sha256 == RANDOM:
        return "none: initialised at random", "none needed"
    for file in SHIPPED.glob(f"*/{_WEIGHTS}"):
        if sha256_file(file) == sha256:
            return f"{file.parent.name}, which ships with udonx", "apache-2.0"
    return _of_timm(backbone.options.get("model", ""), sha256) or (
        f"sha256 `{sha256[:12]}`",
        "unknown",
    )


def _of_timm(model: str, sha256: str) -> tuple[str, str] | None:
    """The weights of timm that have this hash, where they lie in the cache of the hub's client."""
    import timm
    from huggingface_hub import try_to_load_from_cache

    for name in timm.list_pretrained(f"{model}.*"):
        config = timm.get_pretrained_cfg(name)
        if config is None or not config.hf_hub_id:
            continue
        cached = try_to_load_from_cache(config.hf_hub_id, _WEIGHTS)
        if isinstance(cached, str) and sha256_file(Path(cached)) == sha256:
            return config.hf_hub_id, config.license or "unknown"
    return None


def _loading(written: WrittenFormat, crop: int) -> Iterator[str]:
    """How one format is loaded."""
    if written.name == "timm":
        yield "timm: features alone, and with its head by the module that lies here:"
        yield _code(
            'import timm\nbackbone = timm.create_model("local-dir:.", pretrained=True)\n'
            "from embedding import Embedding\n"
            'vectors = Embedding.load(".").embed(["photo.jpg"])'
        )
        return
    shape = f"float32 [batch, 3, {crop}, {crop}], RGB, 0..255"
    yield (
        f"{'ONNX' if written.name == 'onnx' else '`torch.export`'}: `{written.file.name}` takes"
        f" {shape}. Mean and standard deviation are inside; `{MANIFEST}` says how images are"
        " resized and cropped before."
    )
    if written.name == "onnx":
        yield _code(
            "import numpy, onnxruntime\n"
            f'session = onnxruntime.InferenceSession("{written.file.name}")\n'
            f'images = numpy.full((2, 3, {crop}, {crop}), 128, dtype="float32")\n'
            '(vectors,) = session.run(["embedding"], {"images": images})'
        )
    else:
        yield _code(
            "import torch\n"
            f'model = torch.export.load("{written.file.name}").module()\n'
            f"vectors = model(torch.full((2, 3, {crop}, {crop}), 128.0))"
        )


def _table(header: Sequence[str], rows: Iterator[tuple[str, ...]] | list[tuple[str, ...]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _code(text: str) -> str:
    return f"```python\n{text}\n```"
