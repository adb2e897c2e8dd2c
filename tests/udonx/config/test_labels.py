"""Labels of rows: placeholders that the data fill, and mistakes in them."""

from __future__ import annotations

import pytest

import udonx
from tests.tiny import SETTING, write_domain, write_experiment
from udonx.config.experiment import load_experiment

ROW = '[rows.a]\nscheme = "off_the_shelf"\nlabel = "{label}"\n'


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (
            "{domain} teachers",
            (
                'row a: label: got "{domain} teachers", where {domain} is an unknown placeholder;'
                " did you mean 'domains'?"
            ),
        ),
        ("{domains:3} teachers", "allowed is {domains} without anything behind the name"),
        ("{} teachers", "where {} is an unknown placeholder"),
        ("half a { brace", "whose braces do not match"),
    ],
)
def test_a_mistake_in_a_label_is_found_by_check(tmp_path, label, message):
    """An unknown placeholder names the known one; a brace that is none is told how to
    be written.
    """
    file = write_experiment(tmp_path, 'setting = "smoke"\n' + ROW.replace("{label}", label))
    with pytest.raises(udonx.ConfigError) as caught:
        load_experiment(file)
    assert message in str(caught.value)


def test_labels_count_the_domains_of_the_data(tmp_path):
    """Table 3 on two domains has two separate teachers, in the table and in what is said of rows
    that are left out.
    """
    for domain in ("cars", "food"):
        write_domain(tmp_path / "data", domain)
    rows = (
        ROW.replace("{label}", "{domains} of {{these}}")
        + '[rows."b_{x}"]\nscheme = "off_the_shelf"\nbackbone = "large"\n'
    )
    file = write_experiment(tmp_path, SETTING + rows)
    table = udonx.run(file, data=tmp_path / "data", results=tmp_path / "results", device="cpu")
    assert [row.label for row in table.rows] == ["2 of {these}"]
    assert table.missing == ("not in this setting, which has no backbone 'large': b {x}",)
    assert load_experiment(file).skipped() == [
        "not in this setting, which has no backbone 'large': b {x}"
    ]


def test_table_3_counts_its_teachers():
    """The shipped labels name no number of their own."""
    labels = [row.label for row in load_experiment("experiments/table3_ablation.toml").rows]
    assert (
        "{domains} separate teachers" in labels and "1 separate teacher, {domains} heads" in labels
    )
