"""A results folder with a table of three rows in two domains, made without training."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np

from udonx.evaluation.metrics import DomainMetrics, PerQuery, RetrievalMetrics
from udonx.evaluation.protocol import ProtocolResult
from udonx.store.results import Results
from udonx.tables.build import compare_rows
from udonx.tables.content import MMP5, R1, About, Cell, TableRow
from udonx.tables.storage import write_table
from udonx.tables.table import Table

SIZES = {"birds": 200, "cars": 300}
RATES = {"baseline": 0.5, "udon": 0.7, "twin": 0.705, "off_the_shelf": 0.4}
"""How often a query of each row is right; `udon` and `twin` differ by noise."""


def write_results(root: Path, *, seeds: tuple[int, ...] = (0, 1), file: str = "schemes") -> Results:
    """Write a table of `RATES`, the last row for orientation, with all that its pages need."""
    results = Results(root)
    rows = [_row(results, name, seeds) for name in RATES]
    rows, _ = compare_rows(rows, [R1, MMP5], results)
    table = Table(
        title="Which <scheme> & why",
        setting="demo",
        domains=tuple(SIZES),
        rows=tuple(rows),
        missing=("not run yet: a fifth row",),
        footer=("seeds 0, 1",),
        about=About(file="schemes.toml", versions=("torch 2",)),
    )
    write_table(table, root / "tables" / file / "demo")
    return results


def _row(results: Results, name: str, seeds: tuple[int, ...]) -> TableRow:
    stored = [_write_evaluation(results, name, seed) for seed in seeds]
    return TableRow(
        name=name,
        label={"udon": "UDON, <b>our</b> way"}.get(name, name.replace("_", " ")),
        branch="student",
        index="merged",
        backbone="main",
        reference=name == "off_the_shelf",
        seeds=seeds,
        metrics={
            metric: Cell.of([one.means[metric] for one in stored]) for metric in ("r1", "mmp5")
        },
        per_seed={metric: tuple(one.means[metric] for one in stored) for metric in ("r1", "mmp5")},
        differences={},
        per_domain={
            metric: {
                domain: Cell.of([one.per_domain[domain].means[metric] for one in stored])
                for domain in SIZES
            }
            for metric in ("r1", "mmp5")
        },
        own_metrics={
            metric: Cell.of([one.means[metric] for one in stored]) for metric in ("r1", "mmp5")
        },
        steps=400,
        images=12800,
        minutes={"baseline": 1.5, "udon": 12.0}.get(name),
        evaluations=tuple(f"{name}-{seed}" for seed in seeds),
        stages=tuple(f"{name}-stage-{seed}" for seed in seeds),
    )


def _write_evaluation(results: Results, name: str, seed: int) -> RetrievalMetrics:
    # queries are as hard for one row as for another: what differs is how many a row gets right
    hits = {}
    for number, (domain, size) in enumerate(SIZES.items()):
        hard_Q = np.random.default_rng(number).random(size)
        noise_Q = np.random.default_rng([number, seed, len(name)]).normal(0, 0.05, size)
        hits[domain] = hard_Q + noise_Q < RATES[name]
    values = np.concatenate(list(hits.values()))
    per_domain = {
        domain: DomainMetrics(dict.fromkeys(("r1", "mmp5"), float(hit.mean())), queries=len(hit))
        for domain, hit in hits.items()
    }
    mean = float(np.mean([hit.mean() for hit in hits.values()]))
    metrics = RetrievalMetrics(
        dict.fromkeys(("r1", "mmp5"), mean),
        per_domain,
        PerQuery(
            np.repeat(list(SIZES), list(SIZES.values())),
            {"r1": values.astype(float), "mmp5": values.astype(float)},
            np.ones(len(values), dtype=int),
            np.array([f"{number}.png" for number in range(len(values))]),
        ),
    )
    about = {"stages": dict.fromkeys(SIZES, f"{name}-stage-{seed}"), "row": name, "seed": seed}
    results.write_evaluation(f"{name}-{seed}", ProtocolResult(merged=metrics, own=metrics), about)
    return metrics


def without_rows(results: Results) -> None:
    """Replace the table by one that has no row yet."""
    from udonx.tables.storage import find_tables, read_table

    (file,) = find_tables(results.root)
    write_table(attrs.evolve(read_table(file), rows=()), file.parent)
