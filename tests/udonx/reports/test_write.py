"""The report on disk: pages for what is stored, sentences for what is not."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import udonx
from tests.udonx.reports.small import without_rows, write_results
from udonx.cli import main
from udonx.reports.pairs import compare_all
from udonx.reports.source import read_sources
from udonx.store.results import Results


def page_of(out: Path) -> str:
    """The HTML of the only table's page."""
    return (out / "tables" / "schemes" / "demo" / "index.html").read_text()


def test_the_command_says_which_page_to_open(tmp_path, capsys):
    """`udonx report` writes an index and a page for each stored table."""
    write_results(tmp_path / "results")
    write_results(tmp_path / "results", file="schemes again")
    assert main(["report", str(tmp_path / "results"), "--out", str(tmp_path / "out")]) == 0
    assert "2 tables" in (said := capsys.readouterr().out) and "out/index.html" in said
    index = (tmp_path / "out" / "index.html").read_text()
    for link in re.findall(r'<a href="(tables/[^"]+)"', index):
        assert (tmp_path / "out" / link.replace("%20", " ")).is_file()
    assert len(re.findall(r'<a href="tables/', index)) == 2


def test_the_page_says_which_row_wins_and_whether_that_is_noise(tmp_path):
    """The first paragraph ranks the rows; a lead within the interval is called noise."""
    write_results(tmp_path)
    udonx.report(tmp_path, tmp_path / "out")
    text = re.sub(r"\s+", " ", page_of(tmp_path / "out"))
    assert "has the highest R@1 of 3 compared rows" in text
    assert "which may be noise: the interval contains zero" in text
    assert "points ahead of baseline" in text and "which is more than the noise of" in text


def test_every_row_can_be_the_reference(tmp_path):
    """Any two rows have a difference; one way round is the negative of the other."""
    results = write_results(tmp_path)
    ((source,), _) = read_sources(results)
    pairs = compare_all(source)
    assert set(pairs.found) == {(i, j) for i in range(4) for j in range(i)}
    there, back = pairs.of(1, 0), pairs.of(0, 1)
    assert there.keys() == back.keys() == {"r1", "mmp5", "r1/birds", "r1/cars"}
    for column, difference in there.items():
        assert back[column].point == -difference.point
        assert back[column].interval == (-difference.high, -difference.low)
    stored = source.table.rows[1].differences["r1"]
    assert there["r1"] == stored  # the page says what the table says


def test_names_cannot_become_markup(tmp_path):
    """Titles and labels stand in the page as they were written."""
    write_results(tmp_path)
    udonx.report(tmp_path, tmp_path / "out")
    page = page_of(tmp_path / "out")
    assert "Which &lt;scheme&gt; &amp; why" in page and "<b>our</b>" not in page


def test_damaged_results_cost_what_they_hold_and_are_named(tmp_path, capsys):
    """Without per-query results there is a difference but no interval; a damaged table is named."""
    results = write_results(tmp_path / "results")
    write_results(tmp_path / "results", file="other")
    (tmp_path / "results" / "tables" / "other" / "demo" / "table.json").write_text("{")
    (results.evaluation("udon-0") / "per_query.npz").unlink()
    assert main(["report", str(tmp_path / "results"), "--out", str(tmp_path / "out")]) == 0
    assert "other/demo/table.json is no valid JSON" in capsys.readouterr().out
    assert "is no valid JSON" in (tmp_path / "out" / "index.html").read_text()
    page = page_of(tmp_path / "out")
    assert "for want of per-query results" in page
    embedded = re.search(r'id="differences">(.*?)</script>', page).group(1)
    point, low, high = json.loads(embedded)["1-0"]["r1"]
    assert point > 0 and low is None and high is None


def test_a_table_without_rows_has_a_page(tmp_path):
    """A table whose rows have all been left out says so."""
    without_rows(write_results(tmp_path))
    udonx.report(tmp_path, tmp_path / "out")
    assert "none has been evaluated yet" in page_of(tmp_path / "out")


def test_an_empty_folder_is_one_sentence(tmp_path, capsys):
    """What holds no table, or is no folder, is refused and nothing is written."""
    assert main(["report", str(tmp_path)]) == 2
    assert "no table is stored in it yet; `udonx run FILE` writes one" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "nowhere")]) == 2
    assert "there is no such folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_refused_at_once(tmp_path, capsys):
    """A file in place of the folder is one sentence, before anything is drawn."""
    write_results(tmp_path / "results")
    (tmp_path / "file").touch()
    arguments = ["report", str(tmp_path / "results"), "--out", str(tmp_path / "file")]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "--out: " in error and "file is no folder; give another one" in error


@pytest.mark.parametrize("text", ["", "x\n", '{"a": 1}\n'])
def test_odd_runs_do_not_stop_a_report(tmp_path, text):
    """Whatever stands in runs.jsonl, the pages are written."""
    write_results(tmp_path)
    (Results(tmp_path).root / "runs.jsonl").write_text(text)
    assert udonx.report(tmp_path, tmp_path / "out").tables == 1
