"""The data of a setting: a source with its options."""

from __future__ import annotations

from tests.udonx.config.loading import TWO_ROWS, problems


def test_data_is_refused_where_it_would_be_ignored(tmp_path):
    """--data with a generated benchmark is an error that says what to do."""
    assert "--data: got /x, but the data source is 'demo', which has no folder" in problems(
        tmp_path, TWO_ROWS, data="/x"
    )
