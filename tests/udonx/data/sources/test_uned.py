"""A folder in UnED's layout as a data source."""

from __future__ import annotations

from registry import sources
from tests.tiny import write_classes, write_domain


def test_a_folder_in_uneds_layout_has_its_domains(tmp_path):
    """Domains are those of info_files; wanted ones come in their order."""
    for domain in ("cars", "food"):
        write_domain(tmp_path, domain)
    source = sources.get("uned")(root=str(tmp_path))
    assert source.domains() == ("cars", "food") and list(source.problems(None)) == []
    benchmark = source.open(["food", "cars"], lambda done, total: None)
    assert benchmark.domains == ("food", "cars") and benchmark.origin == str(tmp_path)
    assert [key for key, _ in source.problems(["carz"])] == ["root"]


def test_class_folders_are_told_how_they_are_read(tmp_path):
    """Whoever gives class folders is told of the source that reads them; an empty folder is not."""
    (empty,) = sources.get("uned")(root=str(tmp_path)).problems(None)
    write_classes(tmp_path, "cars", {"audi": 1})
    (classes,) = sources.get("uned")(root=str(tmp_path)).problems(None)
    hint = "setting.data.source=folders"
    assert hint in classes[1] and hint not in empty[1]
    (nothing,) = sources.get("uned")().problems(None)
    assert nothing[0] == "root" and "give it with --data DIR" in nothing[1]
