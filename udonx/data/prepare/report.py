"""What `udonx data split` prints.

A table of domains, what was left out and why, and what to do next.
"""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable, Iterator, Sequence

import attrs

from udonx.common.grid import WIDTH, align, columns, fit, widths
from udonx.data.prepare.class_folders import Tally, printable
from udonx.data.prepare.folders import Count, DomainSplit, FolderSplit
from udonx.data.prepare.verify import turned_sentence

_GAP = "   "  # between groups of columns
_TRY = "experiments/table3_ablation.toml --setting uned_mini"


def describe_split(split: FolderSplit) -> str:
    """At most 100 columns wide, long names of domains cut; only a path may be longer than that."""
    notes = [
        textwrap.fill(
            note, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )
        for note in _notes(split)
    ]
    done = f"{split.out} is ready. Its images are links: leave the originals where they are. Next:"
    command = f"  udonx run {_TRY} --data {shlex.quote(str(split.out))}"
    return "\n".join([*_table(split.domains), *notes, "", done, command])


def _table(domains: Sequence[DomainSplit]) -> list[str]:
    splits = list(domains[0].splits)
    rows = [
        (domain.name, [domain.splits[split] for split in splits], domain.left_out)
        for domain in domains
    ]
    if len(domains) > 1:
        rows.append(
            (
                "all",
                [_sum(counts) for counts in zip(*(row[1] for row in rows), strict=True)],
                _sum(row[2] for row in rows),
            )
        )
    heads = [splits, splits, ["classes", "images"]]
    cells = [_cells(counts, left_out) for _, counts, left_out in rows]
    room_of = [widths(group) for group in zip(heads, *cells, strict=True)]
    spans = [sum(group) + len(group) - 1 for group in room_of]
    room = WIDTH - sum(spans) - len(_GAP) * len(spans)
    label = min(max(columns(name) for name in ("domain", *(row[0] for row in rows))), room)

    def line(name: str, groups: Sequence[Sequence[str]]) -> str:
        figures = [align(group, wide) for group, wide in zip(groups, room_of, strict=True)]
        return _GAP.join([fit(name, label, mark="…"), *figures])

    titles = (
        title.center(span)
        for title, span in zip(("classes", "images", "left out"), spans, strict=True)
    )
    rule = "-" * (label + sum(spans) + len(_GAP) * len(spans))
    body = [line(row[0], group) for row, group in zip(rows, cells, strict=True)]
    if len(domains) > 1:
        body.insert(-1, rule)
    return [_GAP.join([" " * label, *titles]).rstrip(), line("domain", heads), rule, *body, rule]


def _cells(counts: Sequence[Count], left_out: Count) -> list[list[str]]:
    groups = (
        [count.classes for count in counts],
        [count.images for count in counts],
        [left_out.classes, left_out.images],
    )
    return [[f"{number:,}" for number in group] for group in groups]


def _sum(counts: Iterable[Count]) -> Count:
    counts = list(counts)
    return Count(sum(count.classes for count in counts), sum(count.images for count in counts))


def _notes(split: FolderSplit) -> Iterator[str]:
    alone = [
        domain.name
        for domain in split.domains
        if any(domain.splits[name].classes == 1 for name in domain.splits if name != "train")
    ]
    if alone:
        yield (
            "only one class in val or test, so that a search in the domain cannot miss:"
            f" {', '.join(map(printable, alone))}"
        )
    ignored = split.ignored
    for tally, one, many in (
        (
            split.unreadable,
            "image cannot be opened and is left out",
            "images cannot be opened and are left out",
        ),
        (
            split.small,
            f"class has fewer than {split.min_images} readable images and is left out",
            f"classes have fewer than {split.min_images} readable images and are left out",
        ),
        (ignored.files, "file is no image and was ignored", "files are no images and were ignored"),
        (
            ignored.loose,
            "image outside class folders was ignored",
            "images outside class folders were ignored",
        ),
        (
            ignored.folders,
            "folder inside a class folder was ignored",
            "folders inside class folders were ignored",
        ),
    ):
        if tally.count:
            yield f"{tally.count:,} {one if tally.count == 1 else many}: {_named(tally)}"
    if split.turned.count:
        yield turned_sentence(
            attrs.evolve(split.turned, first=list(map(printable, split.turned.first))), split.images
        )


def _named(tally: Tally) -> str:
    more = tally.count - len(tally.first)
    return ", ".join(map(printable, tally.first)) + (f" and {more:,} more" if more else "")
