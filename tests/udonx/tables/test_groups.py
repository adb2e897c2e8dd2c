"""Which rows are compared with each other, and over which seeds."""

from __future__ import annotations

import attrs

from udonx.tables.groups import all_seeds, first_rows, on_other_seeds, seed_pairs


@attrs.define
class Row:
    """What of a table's row is compared."""

    label: str
    seeds: tuple[int | None, ...]
    per_seed: dict[str, tuple[float, ...]] = attrs.field(factory=dict)
    evaluations: tuple[str, ...] = ("e",)
    index: str = "merged"
    reference: bool = False
    backbone: str = "main"


def test_seeds_are_paired_by_number_never_by_place():
    """The positions of equal seeds; what has no seed is paired with every one."""
    assert seed_pairs((3, 1), (1, 2, 3)) == [(0, 2), (1, 0)]
    assert seed_pairs((None,), (4, 5)) == [(0, 0), (0, 1)]
    assert seed_pairs((0,), (1,)) == []


def test_the_first_row_of_a_group_is_no_reference():
    """Merged rows are compared with the first merged row, own-domain rows with the first such, each
    with those of its own backbone; references with nothing.
    """
    rows = [
        Row(name, (0,), (0.5,), (name,), index=index, reference=name == "r")
        for name, index in zip("rabcd", "mmomo", strict=True)
    ]
    rows += [Row(name, (0,), (0.5,), (name,), index="m", backbone="large") for name in "ef"]
    firsts = {group: row.label for group, row in first_rows(rows).items()}
    assert firsts == {("m", "main"): "a", ("o", "main"): "b", ("m", "large"): "e"}
    assert first_rows([]) == {}


def test_rows_over_other_seeds_are_told():
    """A row that lacks a seed of another is one; a row without seeds, and rows that all have the
    same, are not.
    """
    rows = [Row("a", (0, 1)), Row("b", (1,)), Row("c", (None,)), Row("d", (1, 0))]
    assert on_other_seeds(rows) == [False, True, False, False] and all_seeds(rows) == (0, 1)
    assert on_other_seeds([Row("a", (0,)), Row("b", (5,))]) == [True, True]
    assert on_other_seeds([]) == []
