"""What does not go together in a row, asked of typed rows without a file."""

from __future__ import annotations

from registry import schemes
from registry.contracts import Budget, ComponentSpec, HeadSpec, LossSpec, Recipe, RowSpec, Transform
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
    assert complaints(recipe={"losses": (CE, KL)}) == ["losses.kl"]
    assert complaints(recipe={"losses": ()}) == ["losses"]
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
