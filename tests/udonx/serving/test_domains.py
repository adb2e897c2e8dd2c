"""Domains of an index, from the paths of its images."""

from __future__ import annotations

import pytest

from udonx.serving.domains import domains_of


@pytest.mark.parametrize(
    ("paths", "domains"),
    [
        ([], []),
        (["a.jpg", "b.jpg"], ["", ""]),
        (["photos/cars/a.jpg", "photos/cars/b.jpg"], ["cars", "cars"]),
        (["photos/cars/a.jpg", "photos/b.jpg"], ["cars", ""]),
        (["cars/vw/a.jpg", "cars/opel/b.jpg", "dishes/c.jpg"], ["cars", "cars", "dishes"]),
    ],
)
def test_the_domain_is_the_first_folder_in_which_paths_differ(paths, domains):
    """Folders that all images share say nothing of them."""
    assert domains_of(paths) == domains
