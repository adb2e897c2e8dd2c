"""The gallery of a table: queries with their nearest images, and confusions across domains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from markupsafe import Markup

from udonx.inputs.open import OpenData
from udonx.reports.choice import confident_failures, in_turn, telling_queries
from udonx.reports.findings import AGAIN, Findings, domain_of, read_findings
from udonx.reports.images import ImageFinder, ImagesError
from udonx.reports.pages import render
from udonx.reports.pictures import Pictures
from udonx.reports.source import TableSource
from udonx.reports.verdict import rank_rows
from udonx.tables.content import TableRow
from udonx.tables.table import Table

PER_DOMAIN = 6
"""Failures of the best row that are shown of each domain."""
TELLING = 24
"""Queries of each domain that tell rows apart, at most."""
MOST_PICTURES = 1500
"""Pictures of one table: what bounds the size of a report."""
FOLDER = "pictures"
_NO_NEIGHBOURS = "its evaluations hold no neighbours of their queries, as those of earlier versions"


@attrs.frozen(kw_only=True)
class Neighbour:
    """One of the nearest images of a query.

    Attributes:
        name: the image, `<domain>/<path>`.
        picture: the name of its picture; None where there is none.
        right: whether it is relevant to the query.
        score: its inner product with the query.
    """

    name: str
    picture: str | None
    right: bool
    score: float

    @property
    def domain(self) -> str:
        """The domain of the image."""
        return domain_of(self.name)


@attrs.frozen(kw_only=True)
class Card:
    """A query and what each row found for it.

    Attributes:
        name: the query image, `<domain>/<path>`.
        domain: its domain.
        picture: the name of its picture; None where there is none.
        found: for each row its nearest images, best first.
    """

    name: str
    domain: str
    picture: str | None
    found: tuple[tuple[Neighbour, ...], ...]


@attrs.define(eq=False)
class Galleries:
    """The galleries of a report's tables, which share their pictures.

    Args:
        out: the folder of the report; pictures are written below it.
        images: opens the images of tables.
    """

    out: Path
    images: ImageFinder
    pictures: Pictures = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.pictures = Pictures(self.out / FOLDER)

    def write(self, source: TableSource, home: str) -> Markup:
        """The gallery of one table as a fragment of its page.

        Args:
            source: the stored table, and the results folder that it was made from.
            home: the way from the page to the report's folder, such as `../../`.

        Returns:
            The HTML. Where there are no neighbours or no images a sentence stands for what is not
            there.
        """
        findings = read_findings(source.table, source.results)
        if findings is None:
            return Markup('<p class="problem">There is no gallery: {}; {}.</p>').format(
                _NO_NEIGHBOURS, AGAIN
            )
        best = best_row(source.table, findings)
        cards, problems = list[Card](), list(findings.problems)
        try:
            cards = self._cards(findings, best, self.images.open(source))
        except ImagesError as error:
            problems.append(f"there are no pictures: {error}")
        return render(
            "gallery.html.j2",
            pictures=f"{home}{FOLDER}/",
            labels=_labels(findings.rows),
            best=best,
            metric=source.table.metrics[0].label,
            seed=findings.rows[best].seeds[0],
            cards=cards,
            failures=_failures(cards, best),
            failed=Counter(np.array(findings.domains)[~findings.hit_RQ[best]].tolist()),
            data=_plain(cards),
            confusions=findings.confusions(source.table.domains).tolist(),
            searched_all=[i for i, row in enumerate(findings.rows) if row.index == "merged"],
            domains=source.table.domains,
            problems=problems,
        )

    def finish(self) -> None:
        """Remove the pictures of an earlier report that are not shown any more."""
        self.pictures.remove_others()

    def _cards(self, findings: Findings, best: int, opened: OpenData) -> list[Card]:
        """The chosen queries with what all rows found, as many as the limit of pictures allows."""
        cards, names = [], set[str]()
        for query in chosen_queries(findings, best):
            found = findings.rows_RQK[:, query]
            names |= {findings.images[row] for row in found[found >= 0].tolist()}
            names.add(findings.queries[query])
            if len(names) > MOST_PICTURES:
                break
            cards.append(self._card(findings, query, opened))
        return cards

    def _card(self, findings: Findings, query: int, opened: OpenData) -> Card:
        name = findings.queries[query]

        def neighbours(row: int) -> tuple[Neighbour, ...]:
            places, scores, right = (
                each[row, query].tolist()
                for each in (findings.rows_RQK, findings.scores_RQK, findings.relevant_RQK)
            )
            return tuple(
                Neighbour(
                    name=findings.images[place],
                    picture=self._picture(findings.images[place], opened),
                    right=is_right,
                    score=score,
                )
                for place, score, is_right in zip(places, scores, right, strict=True)
                if place >= 0
            )

        return Card(
            name=name,
            domain=findings.domains[query],
            picture=self._picture(name, opened),
            found=tuple(neighbours(row) for row in range(len(findings.rows))),
        )

    def _picture(self, name: str, opened: OpenData) -> str | None:
        path = name.partition("/")[2]
        return self.pictures.add(opened.images.root, path, opened.images.max_pixels)


def best_row(table: Table, findings: Findings) -> int:
    """The position of the row that the page calls the best; of the first where none is ranked."""
    for ranked in rank_rows(table):
        if ranked.row in findings.rows:
            return findings.rows.index(ranked.row)
    return 0


def chosen_queries(findings: Findings, best: int) -> list[int]:
    """The queries that a gallery shows, the most telling of every domain first.

    They are failures of the best row and queries that tell rows apart, a domain after the other.
    """
    domains_Q = np.array(findings.domains)
    chosen = []
    for domain in dict.fromkeys(findings.domains):
        queries = np.flatnonzero(domains_Q == domain)
        hit_RQ = findings.hit_RQ[:, queries]
        scores_Q = findings.scores_RQK[best, queries, 0]
        failures = confident_failures(hit_RQ[best], scores_Q, PER_DOMAIN)
        telling = telling_queries(hit_RQ, TELLING)
        both = dict.fromkeys(in_turn([failures, telling]))
        chosen.append(queries[list(both)].tolist())
    return list(in_turn(chosen))


def _labels(rows: Sequence[TableRow]) -> list[str]:
    """What a reader chooses rows by; those of one label have their names beside it."""
    count = Counter(row.label for row in rows)
    return [row.label if count[row.label] == 1 else f"{row.label} ({row.name})" for row in rows]


def _failures(cards: list[Card], best: int) -> dict[str, list[Card]]:
    """By domain the chosen queries that the best row misses, those first that it is surest of."""
    missed: dict[str, list[Card]] = {}
    for card in cards:
        if card.found[best] and not card.found[best][0].right:
            missed.setdefault(card.domain, []).append(card)
    return {
        domain: sorted(of_domain, key=lambda card: -card.found[best][0].score)[:PER_DOMAIN]
        for domain, of_domain in missed.items()
    }


def _plain(cards: list[Card]) -> dict[str, Any]:
    """The cards as they are embedded in the page: images once, everything else by position."""
    images: dict[tuple[str, str | None], int] = {}

    def number(name: str, picture: str | None) -> int:
        return images.setdefault((name, picture), len(images))

    queries = [
        {
            "domain": card.domain,
            "image": number(card.name, card.picture),
            "found": [
                [
                    [number(each.name, each.picture), int(each.right), round(each.score, 2)]
                    for each in of_row
                ]
                for of_row in card.found
            ],
        }
        for card in cards
    ]
    return {"images": list(images), "queries": queries}
