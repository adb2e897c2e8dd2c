"""A results folder with a table of three rows that were evaluated on images, without training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from udonx.data.benchmark import Benchmark
from udonx.evaluation.metrics import RetrievalMetrics, retrieval_metrics
from udonx.evaluation.protocol import ProtocolResult
from udonx.planning.plan import Identities
from udonx.store.results import Results, Run
from udonx.tables.content import About, Cell, TableRow
from udonx.tables.storage import write_table
from udonx.tables.table import Table

DOMAINS = ("cars", "food", "logos")
CLASSES, PER_CLASS = 6, 4
NOISE = {"baseline": 0.9, "udon": 0.5, "own": 0.7}
"""How far each row's embeddings are from those of the classes."""


def write_images(root: Path) -> Benchmark:
    """Three domains of drawn images in UnED's layout; queries and index are the same images."""
    for number, domain in enumerate(DOMAINS):
        entries = []
        for label in range(CLASSES):
            for copy in range(PER_CLASS):
                path = f"{domain}/{label}/é{copy}.png"
                file = root / "images" / path
                file.parent.mkdir(parents=True, exist_ok=True)
                image = Image.new("RGB", (120, 100), (60 * number + 40, 40 * label, 30 * copy))
                ImageDraw.Draw(image).ellipse((20, 10, 40 + 10 * label, 60), fill="white")
                image.save(file)
                entries.append({"path": path, "class_id": label})
        for split in ("train", "val", "test"):
            info = root / "info_files" / domain / f"{split}.json"
            info.parent.mkdir(parents=True, exist_ok=True)
            info.write_text(json.dumps(entries))
    return Benchmark.open(root)


def write_results(root: Path, data: Path, *, neighbours: int = 5) -> Results:
    """Write the table, its evaluations and the record of a run of it.

    Args:
        root: the results folder.
        data: where the images are written.
        neighbours: how many each evaluation keeps; 0 for one of an earlier version.
    """
    results, benchmark = Results(root), write_images(data)
    rows = [_row(results, benchmark, name, neighbours) for name in NOISE]
    table = Table(
        title="Which & why",
        setting="mine",
        domains=DOMAINS,
        rows=tuple(rows),
        missing=(),
        footer=(),
        about=About(file="schemes.toml", data=str(data.resolve())),
    )
    write_table(table, root / "tables" / "schemes" / "mine")
    run = Run(
        file="schemes",
        setting="mine",
        row="udon",
        seed=0,
        stages=("s",),
        sacred_id="1",
        resumes=None,
    )
    results.append_run(run)
    (root / "sacred" / "1").mkdir(parents=True)
    config = {"data": {"source": "uned", "root": data.name, "max_pixels": 10**6}}
    (root / "sacred" / "1" / "config.json").write_text(json.dumps(config))
    return results


def _row(results: Results, benchmark: Benchmark, name: str, neighbours: int) -> TableRow:
    found = {own: _searched(benchmark, name, own, neighbours) for own in (True, False)}
    identities, merged = Identities(benchmark), name != "own"
    about = {
        "stages": dict.fromkeys(DOMAINS, "s"),
        "data": {domain: identities.test_manifest(domain) for domain in DOMAINS},
    }
    result = ProtocolResult(merged=found[False] if merged else None, own=found[True])
    results.write_evaluation(name, result, about)
    main = result.main
    cells = {metric: Cell.of([mean]) for metric, mean in main.means.items()}
    return TableRow(
        name=name,
        label={"udon": "UDON, <b>ours</b>"}.get(name, name),
        branch="student",
        index="merged" if merged else "own",
        backbone="main",
        reference=False,
        seeds=(0,),
        metrics=cells,
        per_seed={metric: (mean,) for metric, mean in main.means.items()},
        differences={},
        per_domain={
            metric: {domain: Cell.of([main.per_domain[domain].means[metric]]) for domain in DOMAINS}
            for metric in main.means
        },
        own_metrics=cells,
        steps=1,
        images=1,
        minutes=1.0,
        evaluations=(name,),
        stages=("s",),
    )


def _searched(benchmark: Benchmark, name: str, own: bool, neighbours: int) -> RetrievalMetrics:
    """Points around the centres of classes, of which some domains lie close to each other."""
    generator = np.random.default_rng(list(NOISE).index(name))
    centres = np.random.default_rng(9).normal(size=(CLASSES, 8))
    x, labels, domains, ids = [], [], [], []
    for number, domain in enumerate(DOMAINS):
        split = benchmark.split(domain, "test")
        for path, label in zip(split.paths, split.class_ids.tolist(), strict=True):
            x.append(centres[label] + 0.3 * number + NOISE[name] * generator.normal(size=8))
            labels.append(label)
            domains.append(domain)
            ids.append(f"{domain}/{path}")
    points = np.array(x) / np.linalg.norm(x, axis=1, keepdims=True)
    sides = (points, labels, domains)
    return retrieval_metrics(
        *sides, *sides, query_ids=ids, index_ids=ids, own_domain_only=own, neighbours=neighbours
    )
