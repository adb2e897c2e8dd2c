"""What does not go together in a row, asked of typed rows without a file."""

from __future__ import annotations

from registry import schemes
from registry.contracts import (
    Budget,
    ComponentSpec,
    HeadSpec,
    LossSpec,
    Recipe,
    RowSpec,
    Subset,
    Transform,
)
from tests.udonx.config.loading import load, problems
from udonx.config.merge import Merged
from udonx.config.pairs import impossible_pairs

CE = LossSpec(name="student_ce", use="ce", on="student")
KL = LossSpec(name="kl", use="kl_logit")


def complaints(scheme: str = "classification", broken: tuple = (), recipe=None, **keys) -> list:
    """The keys that are complained of."""
    spec = RowSpec(
        scheme=ComponentSpec(use=scheme),
        recipe=Recipe(**{"losses": (CE,), "budget": Budget(steps=4)} | (recipe or {})),
        **{"student_head": HeadSpec(use="linear", dim=4)} | keys,
    )
    found = impossible_pairs(spec, schemes.get(scheme)(), Merged(), set(broken))
    return [key for key, _ in found]


def test_a_good_row_has_none():
    """A row whose keys fit is not complained of."""
    assert complaints() == []


def test_each_pair_is_named_at_its_key():
    """Branches, sizes, heads, budget, losses and the signal of a sampler are looked at."""
    assert complaints(evaluate=("teacher",)) == ["evaluate"]
    assert complaints(transform=Transform(resize=8, crop=9)) == ["transform.resize"]
    assert complaints(student_head=HeadSpec(use="pca", dim=4)) == ["student_head.use"]
    assert complaints(recipe={"budget": Budget(steps=1, epochs=1.0)}) == ["budget"]
    whole = Budget(steps=1, batch=6, per_class=4)
    assert complaints(recipe={"budget": whole}) == ["budget.per_class"]
    assert complaints(recipe={"budget": Budget(steps=1, batch=8, per_class=4)}) == []
    epochs = {"budget": Budget(epochs=2.0), "subset": Subset(long_tail=10)}
    assert complaints(recipe=epochs) == ["subset.long_tail"]
    assert complaints(recipe={"subset": Subset(long_tail=10, labelled=0.1)}) == []
    assert complaints(recipe={"losses": (CE, KL)}) == ["losses.kl"]
    assert complaints(recipe={"losses": ()}) == ["losses"]
    assert complaints(domains=("cars", "cars")) == ["domains"]
    dynamic = ComponentSpec(use="dynamic", options={"signal": "kl"})
    assert complaints(recipe={"sampler": dynamic}) == ["sampler.signal"]


def test_a_rule_that_splits_losses_needs_skipped_heads(tmp_path):
    """`dot` with heads that drift is refused at the key that was set last, with what to write."""
    row = '[rows.a]\nscheme = "udon"\nsampler = "uniform"\nupdate = "dot"\n'
    wanted = 'write optimiser.inactive_heads = "skip"'
    default = problems(tmp_path, row)
    assert 'row a: update.use: got "dot", but' in default and wanted in default
    named = problems(tmp_path, f'{row}optimiser.inactive_heads = "drift"\n')
    assert 'row a: optimiser.inactive_heads: got "drift", but' in named and wanted in named
    assert load(tmp_path, f'{row}optimiser.inactive_heads = "skip"\n').rows


def test_a_key_with_a_problem_of_its_own_is_not_judged_again():
    """A stand-in for a broken key causes no second problem."""
    assert complaints(broken=("budget",), recipe={"budget": Budget()}) == []
    assert complaints(broken=("losses",), recipe={"losses": ()}) == []


def test_a_wrong_plain_key_hides_no_other(tmp_path):
    """What is wrong with one plain key does not keep the others from being judged."""
    text = '[rows.a]\nscheme = "udon"\nprecision = "fp8"\nevaluate = ["feature"]\n'
    report = problems(tmp_path, text)
    assert "precision" in report and "evaluate" in report


def test_teachers_are_not_evaluated_on_domains_that_they_have_no_part_in(tmp_path):
    """A row with `domains` is tested on all, so a teacher of some is refused at `evaluate`."""
    text = '[rows.a]\nscheme = "udon"\ndomains = ["logos"]\nevaluate = ["student", "teacher"]\n'
    assert 'row a: evaluate: got ["student", "teacher"], but a row with `domains`' in problems(
        tmp_path, text
    )


def test_domains_are_a_key_of_schemes_that_train_one_student(tmp_path):
    """An empty list is refused, and so are `domains` of specialists and of plain features."""
    rows = (
        'a]\nscheme = "udon"\ndomains = []',
        'b]\nscheme = "specialists"\ndomains = ["logos"]',
        'c]\nscheme = "off_the_shelf"\ndomains = ["logos"]',
    )
    report = problems(tmp_path, "".join(f"[rows.{row}\n" for row in rows))
    assert all(f"row {name}: domains: got" in report for name in "abc")


def test_a_signal_that_is_no_loss_of_the_stage_comes_with_the_one_that_is(tmp_path):
    """Without a teacher the signal is the student's classification: the sentence says what to
    write.
    """
    report = problems(tmp_path, '[rows.a]\nscheme = "classification"\nsampler = "dynamic"\n')
    assert 'it has student_ce: write sampler.signal = "student_ce"' in report
