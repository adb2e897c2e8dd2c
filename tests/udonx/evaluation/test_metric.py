import numpy as np
import pytest
import torch

from udonx.evaluation.metric import RetrievalMetric
from udonx.evaluation.metrics import retrieval_metrics


def problem():
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.normal(size=(40, 6)), dtype=torch.float32)
    labels = [[int(label)] for label in rng.integers(0, 5, 40)]
    labels[3] = [0, 4]
    return x, labels, ["a"] * 25 + ["b"] * 15, [f"图/{i}.jpg" for i in range(40)]


@pytest.mark.parametrize("own_domain_only", [False, True])
def test_batches_give_what_the_function_gives(own_domain_only):
    """Collected in uneven batches, every query's result equals that of one call of the pure
    function.
    """
    x, labels, domains, ids = problem()
    metric = RetrievalMetric(own_domain_only=own_domain_only)
    index_labels = [row[0] for row in labels]
    for part in (slice(0, 7), slice(7, 30), slice(30, 40)):
        metric.update(x[part], labels[part], domains[part], ids[part], role="query")
        metric.update(
            x[part], torch.tensor(index_labels[part]), domains[part], ids[part], role="index"
        )
    expected = retrieval_metrics(
        x,
        labels,
        domains,
        x,
        index_labels,
        domains,
        query_ids=ids,
        index_ids=ids,
        own_domain_only=own_domain_only,
    )
    got = metric.compute()
    np.testing.assert_array_equal(got.per_query.mmp5, expected.per_query.mmp5)
    np.testing.assert_array_equal(got.per_query.hit, expected.per_query.hit)
    assert (
        got.per_query.ids.tolist() == ids
        and got.per_domain == expected.per_domain
        and got.r1 == expected.r1
    )


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_reset_forgets_everything():
    """After reset nothing is left, and computing says which role is missing."""
    x, labels, domains, ids = problem()
    metric = RetrievalMetric()
    metric.update(x, labels, domains, ids, role="query")
    metric.reset()
    with pytest.raises(ValueError, match="no query embeddings were added"):
        metric.compute()


def test_states_are_cpu_tensors():
    """States are detached float32, int64 and uint8 tensors on the CPU, so that torchmetrics can
    gather them.
    """
    x, labels, domains, ids = problem()
    metric = RetrievalMetric()
    metric.update(x.double().requires_grad_(), labels, domains, ids, role="query")
    states = [state for name in metric._defaults for state in getattr(metric, name)]
    assert {state.dtype for state in states} == {torch.float32, torch.int64, torch.uint8}
    assert not any(state.requires_grad or state.device.type != "cpu" for state in states)


def test_calling_it_adds_a_batch():
    """`metric(...)` does what `update` does, as in a training loop of torchmetrics."""
    x, labels, domains, ids = problem()
    called, updated = RetrievalMetric(), RetrievalMetric()
    for role in ("query", "index"):
        one_label = [row[:1] for row in labels]
        assert called(x, one_label, domains, ids, role=role) is None
        updated.update(x, one_label, domains, ids, role=role)
    assert called.compute().per_domain == updated.compute().per_domain


def test_moving_it_between_batches_changes_nothing():
    """Batches before and after `.to()` are searched together: what was collected
    stays on the CPU.
    """
    x, labels, domains, ids = problem()
    one_label = [row[0] for row in labels]
    metric = RetrievalMetric()
    metric.update(x[:20], one_label[:20], domains[:20], ids[:20], role="query")
    metric.update(x, one_label, domains, ids, role="index")
    metric.to("meta")  # stands for any device that is not the CPU
    metric.update(x[20:], one_label[20:], domains[20:], ids[20:], role="query")
    expected = retrieval_metrics(
        x, one_label, domains, x, one_label, domains, query_ids=ids, index_ids=ids
    )
    assert metric.compute().per_domain == expected.per_domain


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"role": "gallery"}, 'role must be "query" or "index"'),
        ({"labels": [1]}, "batch of 40 query"),
    ],
)
def test_bad_batches_are_refused(change, message):
    """An unknown role and lengths that disagree raise ValueError at the batch that has them."""
    x, labels, domains, ids = problem()
    good = {"embeddings": x, "labels": labels, "domains": domains, "ids": ids, "role": "query"}
    with pytest.raises(ValueError, match=message):
        RetrievalMetric().update(**(good | change))
