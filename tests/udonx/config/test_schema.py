"""The JSON schema that editors use."""

from __future__ import annotations

import contextlib
import io
import json
import tomllib
from collections.abc import Iterator

import jsonschema
import pytest

from tests.tiny import ROOT
from udonx.cli import main
from udonx.config.schema import experiment_schema, setting_schema

EXPERIMENTS = sorted(
    path
    for folder in ("", "pretraining")
    for path in (ROOT / "experiments" / folder).glob("*.toml")
)
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
    validator.validate(
        {"setting": tomllib.loads(path.read_text()), "rows": {"a": {"scheme": "udon"}}}
    )


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"rows": {}},
        {"rows": {"a": {"scheme": "udon"}}, "titel": "x"},
        {"rows": {"a": {"scheme": "udon"}}, "metrics": ["r2"]},
        {"rows": {"a": {"scheme": "udn"}}},
        {"rows": {"a": {"scheme": "udon", "optimiser": {"lr_head": 1.0}}}},
        {"rows": {"a": {"scheme": "udon", "budget": {"batch": 0}}}},
        {"rows": {"a": {"scheme": "udon", "losses": {"x": {"use": "ce", "scael": 1.0}}}}},
        {"rows": {"a": {"scheme": {"use": "off_the_shelf", "reduce": "umap"}}}},
        {"rows": {"a": {"scheme": "udon", "grid": {"student_head": {"dim": 8}}}}},
        {"rows": {"a": {"scheme": "udon", "grid": {"student_head": {"dim": []}}}}},
        {"rows": {"a": {"scheme": "udon"}}, "defaults": {"grid": {"sampler": ["uniform"]}}},
        {"rows": {"a": {"scheme": "udon"}}, "setting": {"data": {"sorce": "demo"}}},
        {"rows": {"a": {"scheme": "udon"}}, "setting": {"scheme": "udon"}},
    ],
)
def test_it_rejects_misspelt_keys_and_wrong_values(validator, document):
    """Unknown keys at every depth, unknown components, wrong options and bounds are marked in the
    editor already.
    """
    assert not validator.is_valid(document)


@pytest.mark.parametrize(
    ("document", "key"),
    [
        (
            {"rows": {"a": {"scheme": "udon", "optimiser": {"lr_head": 1.0}}}},
            "rows.a.optimiser.lr_head",
        ),
        ({"rows": {"a": {"scheme": "udon", "optimizer": {"lr_heads": 1.0}}}}, "rows.a.optimizer"),
        ({"rows": {"a": {"scheme": "udn"}}}, "rows.a.scheme"),
        (
            {"rows": {"a": {"scheme": "classification", "teacher_head": "mlp"}}},
            "rows.a.teacher_head",
        ),
        (
            {"rows": {"a": {"scheme": {"use": "specialists"}, "sampler": "dynamic"}}},
            "rows.a.sampler",
        ),
        ({"rows": {"a": {"losses": {"x": {"use": "ce", "scael": 1.0}}}}}, "rows.a.losses.x.scael"),
        ({"rows": {"a": {"losses": {"x": {"use": "cee"}}}}}, "rows.a.losses.x.use"),
        ({"rows": {"a": {"sampler": {"interva": 1}}}}, "rows.a.sampler.interva"),
        ({"rows": {"a": {"budget": {"batch": 0}}}}, "rows.a.budget.batch"),
        ({"rows": {"a": {}}, "defaults": {"samplr": "dynamic"}}, "defaults.samplr"),
        ({"rows": {"a": {}}, "setting": {"data": {"sorce": "demo"}}}, "setting.data.sorce"),
        (
            {
                "rows": {"a": {}},
                "setting": {"backbones": {"main": {"model": "resnet18", "hbu": "a1_in1k"}}},
            },
            "setting.backbones.main.hbu",
        ),
        (
            {"rows": {"a": {}}, "setting": {"samplers": {"dynamic": {"interva": 1}}}},
            "setting.samplers.dynamic.interva",
        ),
    ],
)
def test_what_is_wrong_is_marked_at_its_key(validator, document, key):
    """A typo gives one error, and it is at the key, not at the row or the setting around it."""
    assert [".".join(error.absolute_path) for error in validator.iter_errors(document)] == [key]


def test_defaults_may_hold_what_one_rows_scheme_has_no_slot_for(validator):
    """[defaults] are for all rows, so that their scheme does not say which keys they may have."""
    validator.validate(
        {
            "rows": {"a": {"scheme": "udon"}, "b": {}},
            "defaults": {"scheme": "classification", "teacher_head": "mlp"},
        }
    )


def test_every_key_and_option_has_its_sentence():
    """Whatever an editor shows of a key, down to the options of components, comes with what it is
    for and its unit.
    """
    schema = experiment_schema()

    def properties(node: object, path: str = "") -> Iterator[tuple[str, dict]]:
        if isinstance(node, dict):
            named = (
                node.get("properties", {})
                if node.get("additionalProperties") == {"not": {}}
                else {}
            )
            yield from (
                (f"{path}.{key}", item) for key, item in named.items() if isinstance(item, dict)
            )
            for key, item in node.items():
                yield from properties(item, f"{path}.{key}")
        elif isinstance(node, list):
            for number, item in enumerate(node):
                yield from properties(item, f"{path}.{number}")

    def described(item: dict) -> dict:
        return (
            schema["$defs"][item["$ref"].rpartition("/")[2]]
            if "$ref" in item and "description" not in item
            else item
        )

    found = list(properties(schema))
    assert len(found) > 100
    assert [
        path for path, item in found if not described(item).get("description", "").endswith(".")
    ] == []
    assert schema["$defs"]["transform"]["properties"]["crop"]["description"].endswith("(pixels).")


def test_plug_ins_are_in_it(tmp_path):
    """`udonx schema --plugin` knows what the plug-in registers, and a misspelt option of it is
    marked.
    """
    (tmp_path / "schema_losses.py").write_text(
        "from registry import losses\n@losses.register('in_schema')\nclass InSchema:\n    def"
        " __init__(self, *, power: float = 2.0): ...\n    def __call__(self, branch, batch):"
        " return 0\n"
    )
    document = {
        "rows": {
            "a": {"losses": {"mine": {"use": "in_schema", "power": 1.5}, "other": "in_schema"}}
        }
    }
    with_plug_in = json.loads(udonx_schema("--plugin", str(tmp_path / "schema_losses.py")))
    assert list(jsonschema.Draft202012Validator(with_plug_in).iter_errors(document)) == []
    document["rows"]["a"]["losses"]["mine"]["powr"] = 1
    errors = jsonschema.Draft202012Validator(with_plug_in).iter_errors(document)
    assert [list(error.absolute_path) for error in errors] == [
        ["rows", "a", "losses", "mine", "powr"]
    ]


def udonx_schema(*arguments: str) -> str:
    """What the command prints."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(["schema", *arguments]) == 0
    return out.getvalue()


@pytest.mark.parametrize(
    "row",
    [
        {"scheme": "udon", "sampler": {"interval": "5%"}},
        {
            "scheme": "udon",
            "losses": {"kl_logit": {"weight": 2.0}, "relational": False, "more": "ce"},
        },
        {"scheme": {"use": "off_the_shelf", "reduce": "pca"}, "student_head": {"dim": 8}},
    ],
)
def test_it_accepts_what_only_changes_what_is_inherited(validator, row):
    """A table without `use`, a removal and a bare name are valid; a file over another one needs no
    rows of its own.
    """
    validator.validate({"rows": {"a": row}})
    validator.validate({"inherit": "other.toml", "rows": {"a": row, "b": False}})
    validator.validate({"inherit": "other.toml", "rows": {}})


@pytest.mark.parametrize(
    ("folder", "of"), [("experiments", "experiment"), ("experiments/settings", "setting")]
)
def test_the_shipped_files_point_to_an_up_to_date_schema(folder, of):
    """Each shipped file names schema.json beside it in its first line, and that is what `udonx
    schema` prints.
    """
    built = experiment_schema() if of == "experiment" else setting_schema()
    assert json.loads((ROOT / folder / "schema.json").read_text()) == built, "run `make docs`"
    for path in (ROOT / folder).glob("*.toml"):
        assert path.read_text().startswith("#:schema schema.json\n"), path
    for path in (ROOT / "experiments" / "pretraining").glob("*.toml"):
        assert path.read_text().startswith("#:schema ../schema.json\n"), path
