"""A table as LaTeX."""

from __future__ import annotations

import re
import shutil
import subprocess

import attrs
import pytest

from tests.udonx.tables.small import table, table_row
from udonx.tables.content import Cell, ReportedRow, TableRow
from udonx.tables.latex import to_latex
from udonx.tables.table import Table

HOSTILE = r"50 % of {a} & b_c #1 $x$ ~ ^ \end{table*} <i> | ± †"


def with_r1(row: TableRow, *values: float) -> TableRow:
    """The row with these values of R@1, one for each seed."""
    return attrs.evolve(row, metrics={**row.metrics, "r1": Cell.of(list(values))})


def everything() -> Table:
    """A table with every mark, and a label that LaTeX would take for commands."""
    best = with_r1(table_row("best", difference=0.1, interval=(-0.1, 0.2)), 0.7, 0.8, 0.9)
    rows = (
        with_r1(table_row("first"), 0.5, 0.5, 0.5),
        attrs.evolve(best, unseen=("food",)),
        with_r1(table_row("hostile", label=HOSTILE), 0.6, 0.6, 0.6),
        table_row("fewer", seeds=1),
        table_row("own", index="own"),
        table_row("backbone", reference=True),
    )
    reported = ReportedRow(
        name="best",
        label="best",
        reference=False,
        source="A & B, table 3",
        metrics={"r1": 0.999},
        per_domain={"r1": {"food": 0.5}},
    )
    return attrs.evolve(table(*rows), reported=(reported,))


def lines_of(text: str) -> dict[str, list[str]]:
    """The cells of each line of the tabular, by the first."""
    found = [line.strip().removesuffix(r" \\") for line in text.split("\n") if line.endswith(r"\\")]
    cells = [re.split(r"(?<!\\) & ", line) for line in found]
    return {first: others for first, *others in cells}


def test_every_line_has_a_cell_for_each_column():
    """The tabular has as many columns as its header and each of its lines."""
    text = to_latex(everything())
    declared = re.search(r"\\begin\{tabular\}\{(l r*|lr*)\}", text)
    assert declared is not None
    body = text[text.index(r"\cmidrule") : text.index(r"\bottomrule")]
    cells = [len(re.split(r"(?<!\\)&", line)) for line in body.split("\n") if line.endswith(r"\\")]
    assert set(cells) == {len(declared[1])} and len(cells) == 8
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 2, 1]


def test_the_best_is_bold_and_the_second_underlined():
    """With the deviation over seeds beside the mean; figures from elsewhere are neither."""
    lines = lines_of(to_latex(everything()))
    assert lines["best"][0] == r"$\mathbf{80.0}{\scriptstyle \pm 10.0}$"
    assert lines["best"][2] == r"$+10.0^{\sim}$"
    hostile = next(cells for label, cells in lines.items() if label.startswith("50"))
    assert hostile[0] == r"$\underline{60.0}{\scriptstyle \pm 0.0}$"
    assert lines[r"best (reported)$^{\ddagger}$"][:3] == ["$99.9$", "--", ""]


def test_marks_are_explained_below_the_table():
    """Own index, other seeds, unseen domains, figures from elsewhere and differences."""
    text = to_latex(everything())
    notes = text[text.index(r"\end{tabular}") :]
    for mark in ("{*}", r"{\dagger}", r"{\circ}", r"{\ddagger}", r"{\sim}"):
        assert f"$^{mark}$" in notes
    assert r"Reported by A \& B, table 3; neither measured here nor compared." in notes
    plain = to_latex(table(table_row("a"), table_row("b")))
    assert r"\footnotesize" not in plain and "bold" not in plain


def test_texts_of_a_file_are_no_commands():
    """Special characters of labels, titles and names are printed as they are."""
    text = to_latex(attrs.evolve(everything(), title=HOSTILE, domains=(HOSTILE,)))
    assert text.count(r"\end{table*}") == 1
    plain = "\n".join(line for line in text.split("\n") if not line.startswith("%"))
    assert re.search(r"(?<!\\)[%#]", plain) is None and "†" not in plain
    assert r"50 \% of \{a\} \& b\_c \#1 \$x\$ \textasciitilde{}" in plain


def test_a_label_is_no_option_of_the_line_above():
    r"""LaTeX takes a bracket or a star behind \\ for an option, on the next line too."""
    rows = [table_row("first"), table_row("a", label="[1] a"), table_row("b", label="* b")]
    text = to_latex(table(*rows))
    assert "\n    {[}1{]} a & " in text and "\n    {*} b & " in text


def test_the_label_names_file_and_setting():
    """Two tables of one paper have two keys."""
    about = attrs.evolve(table().about, file="/somewhere/table3_ablation.toml")
    text = to_latex(attrs.evolve(everything(), about=about))
    assert r"\label{tab:table3-ablation-demo}" in text and r"\caption{Schemes (demo): " in text


@pytest.mark.skipif(
    not any(map(shutil.which, ("pdflatex", "tectonic"))), reason="no LaTeX is installed"
)
def test_latex_takes_it(tmp_path):
    """A document of nothing but the table compiles."""
    (tmp_path / "paper.tex").write_text(
        "\\documentclass{article}\n\\usepackage[T1]{fontenc}\n\\usepackage{booktabs}\n"
        f"\\begin{{document}}\n{to_latex(everything())}\\end{{document}}\n"
    )
    pdflatex = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error"]
    command = pdflatex if shutil.which("pdflatex") else ["tectonic"]
    subprocess.run([*command, "paper.tex"], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "paper.pdf").is_file()
