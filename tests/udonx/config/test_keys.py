"""The keys of a row: each is declared once, and everything else follows."""

from __future__ import annotations

import attrs

from registry.contracts import Recipe, RowSpec
from registry.schemes.recipes import TEACHER_SLOTS, TRAINING_SLOTS
from udonx.config.keys import COMMON, PLAIN_KEYS, ROW_KEYS, SLOT_KEYS, TABLES
from udonx.config.schema import experiment_schema


def test_a_field_of_a_row_is_a_key_everywhere():
    """Every field of RowSpec and Recipe is a plain key, a table or a slot, and in the schema."""
    declared = {field.name for cls in (RowSpec, Recipe) for field in attrs.fields(cls)} - {"recipe"}
    plain = {option.name for option in PLAIN_KEYS}
    assert declared <= plain | TABLES.keys() | SLOT_KEYS.keys() | {"losses", "teachers"}
    assert experiment_schema()["$defs"]["keys_of_row"]["properties"].keys() == ROW_KEYS
    assert declared <= ROW_KEYS and declared - COMMON == {"student_head", "domains"} | {
        field.name for field in attrs.fields(Recipe)
    }


def test_a_recipe_is_whole():
    """Whoever reads how a row is trained meets no None but that of a component it does without."""
    empty = {name for name, value in attrs.asdict(Recipe(), recurse=False).items() if value is None}
    assert empty == {"teacher_head", "student_classifier", "teacher_classifier", "init"}


def test_slots_of_schemes_are_keys():
    """The two sets of slots that schemes are made of follow from the fields of Recipe."""
    assert TRAINING_SLOTS < TEACHER_SLOTS < ROW_KEYS
    of_teachers = TEACHER_SLOTS - TRAINING_SLOTS
    assert of_teachers == {"teacher_head", "teacher_classifier", "distill_to_backbone"}
