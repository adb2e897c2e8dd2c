"""The JSON schema that editors use."""

from __future__ import annotations

import json
import tomllib

import jsonschema
import pytest

from tests.tiny import ROOT
from udonx.config.schema import experiment_schema, setting_schema

EXPERIMENTS = sorted(path for folder in ("", "pretraining") for path in (ROOT / "experiments" / folder).glob("*.toml"))
SETTINGS = sorted((ROOT / "experiments" / "settings").glob("*.toml"))


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    """The schema, itself checked."""
    schema = experiment_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_it_accepts_the_shipped_experiments(validator, path):
    """Every experiment file of the project is valid."""
    validator.validate(tomllib.loads(path.read_text()))


@pytest.mark.parametrize("path", SETTINGS, ids=lambda path: path.stem)
def test_it_accepts_the_shipped_settings(validator, path):
    """What a shipped setting says may stand under [setting] of a file."""
    validator.validate({"setting": tomllib.loads(path.read_text()), "rows": {"a": {"scheme": "udon"}}})


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"rows": {}},
        {"rows": {"a": {"scheme": "udon"}}, "titel": "x"},
        {"rows": {"a": {"scheme": "udn"}}},
        {"rows": {"a": {"scheme": "udon", "optimiser": {"lr_head": 1.0}}}},
        {"rows": {"a": {"scheme": "udon", "budget": {"batch": 0}}}},
        {"rows": {"a": {"scheme": "udon", "losses": {"x": {"use": "ce", "scael": 1.0}}}}},
        {"rows": {"a": {"scheme": {"use": "off_the_shelf", "reduce": "lda"}}}},
        {"rows": {"a": {"scheme": "udon"}}, "setting": {"data": {"sorce": "demo"}}},
        {"rows": {"a": {"scheme": "udon"}}, "setting": {"scheme": "udon"}},
    ],
)
def test_it_rejects_misspelt_keys_and_wrong_values(validator, document):
    """Unknown keys at every depth, unknown components, wrong options and bounds are marked in the editor already."""
    assert not validator.is_valid(document)


@pytest.mark.parametrize(
    "row",
    [
        {"scheme": "udon", "sampler": {"interval": "5%"}},
        {"scheme": "udon", "losses": {"kl_logit": {"weight": 2.0}, "relational": False, "more": "ce"}},
        {"scheme": {"use": "off_the_shelf", "reduce": "pca"}, "student_head": {"dim": 8}},
    ],
)
def test_it_accepts_what_only_changes_what_is_inherited(validator, row):
    """A table without `use`, a removal and a bare name are valid; a file over another one needs no rows of its own."""
    validator.validate({"rows": {"a": row}})
    validator.validate({"inherit": "other.toml", "rows": {"a": row, "b": False}})
    validator.validate({"inherit": "other.toml", "rows": {}})


@pytest.mark.parametrize(("folder", "of"), [("experiments", "experiment"), ("experiments/settings", "setting")])
def test_the_shipped_files_point_to_an_up_to_date_schema(folder, of):
    """Each shipped file names schema.json beside it in its first line, and that is what `udonx schema` prints."""
    built = experiment_schema() if of == "experiment" else setting_schema()
    assert json.loads((ROOT / folder / "schema.json").read_text()) == built, f"udonx schema {of} > {folder}/schema.json"
    for path in (ROOT / folder).glob("*.toml"):
        assert path.read_text().startswith("#:schema schema.json\n"), path
    for path in (ROOT / "experiments" / "pretraining").glob("*.toml"):
        assert path.read_text().startswith("#:schema ../schema.json\n"), path
