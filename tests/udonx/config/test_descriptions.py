"""Descriptions of components, cached so that checking needs no torch."""

from __future__ import annotations

import json
import types

import pytest

from registry.registry import RegistryError
from tests.tiny import ROOT, python
from udonx.common.files import cache_dir
from udonx.config import descriptions as components

DESCRIBE = (
    "import sys\nfrom udonx.config import descriptions as components\ndescribed ="
    " components.describe('losses', 'ce')\nprint(described.name, described.facts, [option.name for"
    " option in described.options], 'torch' in sys.modules)"
)
CE = "ce {'needs_teacher': False} ['margin', 'm', 'scale']"


def test_the_second_description_imports_no_torch_until_the_source_changes(tmp_path):
    """A component is imported once to be described; its cached description holds while its source
    does, and is then made anew. A cache that cannot be read is made anew as well.
    """
    cache = str(tmp_path / "cache")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "components.json").write_text('{"losses.ce"')
    assert python(DESCRIBE, UDONX_CACHE=cache) == f"{CE} True"
    assert python(DESCRIBE, UDONX_CACHE=cache) == f"{CE} False"
    changed = tmp_path / "ce.py"
    changed.write_text((ROOT / "registry" / "losses" / "ce.py").read_text() + "# one line more\n")
    elsewhere = (
        "import pathlib\nfrom udonx.config import descriptions as components\ncomponents._origin ="
        f" lambda module: pathlib.Path({str(changed)!r})\n"
    )
    assert python(elsewhere + DESCRIBE, UDONX_CACHE=cache) == f"{CE} True"
    assert (
        json.loads((tmp_path / "cache" / "components.json").read_text())["losses.ce"]["component"][
            "name"
        ]
        == "ce"
    )


def test_an_unwritable_cache_folder_is_no_error(monkeypatch):
    """Where nothing can be kept, everything is still described."""
    monkeypatch.setenv("UDONX_CACHE", "/dev/null/cache")
    monkeypatch.setattr(components, "_memory", {})
    assert cache_dir() is None
    assert components.describe("heads", "mlp").facts == {"fitted": False}
    assert "resnet10t" in components.timm_models()


def test_timms_models_have_their_tags(monkeypatch):
    """Names without a tag, each with the tags of its pre-trained weights."""
    models = components.timm_models()
    assert "ra_in1k" in models["mobilenetv2_100"]
    assert not any("." in name for name in models)


def test_an_unknown_kind_or_name_lists_what_there_is():
    """Both mistakes end in one sentence with the names that exist."""
    with pytest.raises(
        RegistryError,
        match=(
            "'loses' is no kind of component; there are backbones, heads, losses, samplers,"
            " schemes, metrics"
        ),
    ):
        components.describe("loses", "ce")
    with pytest.raises(RegistryError, match="losses: 'cee' is not registered; did you mean 'ce'"):
        components.describe("losses", "cee")


@pytest.mark.parametrize("name", ["components.json", "timm.json"])
@pytest.mark.parametrize(
    "content",
    ["null", "3", "[]", '{"losses.ce": 3}', '{"losses.ce": {"key": 1}}', '{"1.0": null}', "["],
)
def test_a_damaged_cache_is_made_anew(name, content, tmp_path, monkeypatch):
    """Whatever stands in a cache, components and timm's models are described all the same."""
    monkeypatch.setenv("UDONX_CACHE", str(tmp_path))
    monkeypatch.setattr(components, "_memory", {})
    # as in a process that has imported no component yet
    monkeypatch.setattr(
        components, "catalogue", types.SimpleNamespace(check_exists=lambda *_: False)
    )
    (tmp_path / name).write_text(content)
    assert (
        components.describe("losses", "ce").name == "ce" and "resnet10t" in components.timm_models()
    )
    assert (
        "normface" in (tmp_path / "components.json").read_text()
        and "resnet10t" in (tmp_path / "timm.json").read_text()
    )
