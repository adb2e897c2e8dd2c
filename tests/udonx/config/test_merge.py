"""Layers of tables merged into one: slots, removals, and where each value came from."""

from __future__ import annotations

from udonx.config.merge import Layer, Merged


def merged(*tables: dict) -> Merged:
    """The tables merged in order, each a layer named by its position."""
    result = Merged()
    for position, table in enumerate(tables):
        result.add(Layer(where=str(position), prefix="", data=table))
    return result


def test_a_changed_use_drops_the_components_options_and_keeps_the_slots():
    """Options belong to the component that they were written for; `dim`, `weight` and `on` belong
    to the slot.
    """
    head = merged(
        {"student_head": {"use": "mlp", "dim": 8, "hidden": [4]}}, {"student_head": "linear"}
    ).data
    assert head == {"student_head": {"use": "linear", "dim": 8}}
    loss = merged(
        {"losses": {"a": {"use": "ce", "weight": 2.0, "on": "student", "scale": 8}}},
        {"losses": {"a": {"use": "mine"}}},
    ).data
    assert loss == {"losses": {"a": {"use": "mine", "weight": 2.0, "on": "student"}}}


def test_the_same_use_keeps_the_options():
    """Naming the component that is there already, or none, changes only what is written."""
    loss = {"losses": {"a": {"use": "ce", "scale": 8}}}
    assert merged(loss, {"losses": {"a": {"use": "ce", "m": 0.1}}}).data["losses"]["a"] == {
        "use": "ce",
        "scale": 8,
        "m": 0.1,
    }
    assert merged(loss, {"losses": {"a": {"weight": 3}}}).data["losses"]["a"] == {
        "use": "ce",
        "scale": 8,
        "weight": 3,
    }


def test_false_removes_an_inherited_entry():
    """`= false` takes one loss out and leaves the others."""
    assert merged({"losses": {"a": "ce", "b": "kl_logit"}}, {"losses": {"a": False}}).data == {
        "losses": {"b": {"use": "kl_logit"}}
    }


def test_a_bare_string_is_a_use():
    """A slot's name alone is short for a table with `use`."""
    assert (
        merged({"sampler": "uniform"}).data
        == merged({"sampler": {"use": "uniform"}}).data
        == {"sampler": {"use": "uniform"}}
    )


def test_steps_replace_inherited_epochs_and_the_other_way():
    """A budget is counted in one unit: the upper layer's."""
    assert merged({"budget": {"epochs": 10, "batch": 8}}, {"budget": {"steps": 5}}).data == {
        "budget": {"steps": 5, "batch": 8}
    }
    assert merged({"budget": {"steps": 5}}, {"budget": {"epochs": 1}}).data == {
        "budget": {"epochs": 1}
    }


def test_every_value_remembers_its_layer():
    """A value is traced to the layer that set it last; an unset one to the table around it."""
    both = merged({"optimiser": {"frozen": 1, "eps": 1e-8}}, {"optimiser": {"frozen": 2}})
    assert [both.source_of(f"optimiser.{key}").where for key in ("frozen", "eps", "beta1")] == [
        "1",
        "0",
        "0",
    ]
    assert both.source_of("sampler") is None


def test_a_wrong_type_below_is_kept_for_validation():
    """A table over something that is no table does not hide it."""
    assert merged({"losses": "ce"}, {"losses": {"a": "ce"}}).data == {"losses": "ce"}
