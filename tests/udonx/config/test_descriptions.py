"""Descriptions of components, cached so that checking needs no torch."""

from __future__ import annotations

import json
import types

import pytest

from registry import backbones
from registry.registry import RegistryError
from tests.tiny import ROOT, python
from udonx.common.cache import cache_dir
from udonx.config import descriptions as components

DESCRIBE = (
    "import sys\nfrom udonx.config import descriptions as components\ndescribed ="
    " components.describe('losses', 'ce')\nprint(described.name, described.facts, [option.name for"
    " option in described.options], 'torch' in sys.modules)"
)
CE = "ce {'needs_teacher': False, 'needs_context': False} ['margin', 'm', 'scale']"


def of_timm(**options) -> list[tuple[str, str]]:
    """What timm's backbone says is wrong with options."""
    return components.own_problems("backbones", "timm", options)


def test_a_plug_in_says_what_is_wrong_with_its_options():
    """A component with a static method `problems` is asked; one without has nothing to say."""

    class Picky:
        def __init__(self, start, *, depth: int) -> None: ...

        @staticmethod
        def problems(options, remember):
            if options["depth"] % 2:
                yield "depth", "but only even depths are known"

    backbones.register("picky")(Picky)
    backbones.register("easy")(lambda start: None)
    try:
        assert components.own_problems("backbones", "picky", {"depth": 2}) == []
        found = components.own_problems("backbones", "picky", {"depth": 3})
        assert found == [("depth", "got 3, but only even depths are known")]
        ((key, sentence),) = components.own_problems("backbones", "picky", {})
        assert key == "use" and sentence.endswith("were looked at: KeyError: 'depth'")
        assert components.own_problems("backbones", "easy", {}) == []
    finally:
        backbones.registry.forget({__name__})


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
    assert of_timm(model="resnet10t") == []


def test_timms_models_have_their_tags(monkeypatch):
    """Names without a tag, each with the tags of its pre-trained weights."""
    assert of_timm(model="mobilenetv2_100", hub="ra_in1k") == []
    assert [key for key, _ in of_timm(model="mobilenetv2_100.ra_in1k")] == ["model"]
    assert [key for key, _ in of_timm(model="mobilenetv2_100", hub="a1_in1k")] == ["hub"]


def test_an_unknown_kind_or_name_lists_what_there_is():
    """Both mistakes end in one sentence with the names that exist."""
    with pytest.raises(
        RegistryError,
        match=(
            "'loses' is no kind of component; there are backbones, heads, classifiers, inits,"
            " losses, samplers, schemes, metrics"
        ),
    ):
        components.describe("loses", "ce")
    with pytest.raises(RegistryError, match="losses: 'cee' is not registered; did you mean 'ce'"):
        components.describe("losses", "cee")


@pytest.mark.parametrize("name", ["components.json", "libraries.json"])
@pytest.mark.parametrize(
    "content",
    [
        "null",
        "3",
        "[]",
        '{"losses.ce": 3}',
        '{"losses.ce": {"key": 1}}',
        '{"1.0": null}',
        '{"timm": {"1.0": 3}}',
        "[",
    ],
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
    assert components.describe("losses", "ce").name == "ce" and of_timm(model="resnet10t") == []
    assert (
        "normface" in (tmp_path / "components.json").read_text()
        and "resnet10t" in (tmp_path / "libraries.json").read_text()
    )
