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


@pytest.mark.parametrize("sizes", [None, {"query": 40, "index": 10}])
@pytest.mark.parametrize("own_domain_only", [False, True])
def test_batches_give_what_the_function_gives(own_domain_only, sizes):
    """Collected in uneven batches, every query's result equals that of one call of the pure
    function, whether or not so many were announced.
    """
    x, labels, domains, ids = problem()
    metric = RetrievalMetric(metrics=["r1", "mmp5", "map_r"], sizes=sizes)
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
        metrics=["r1", "mmp5", "map_r"],
        own_domain_only=own_domain_only,
    )
    got = metric.compute()["own" if own_domain_only else "merged"]
    for name in ("r1", "mmp5", "map_r"):
        np.testing.assert_array_equal(got.per_query.values[name], expected.per_query.values[name])
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
    assert called.compute()["own"].per_domain == updated.compute()["own"].per_domain


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
    assert metric.compute()["merged"].per_domain == expected.per_domain


def test_what_several_processes_have_collected_is_searched_together(tmp_path):
    """Gathered by torchmetrics over two processes, the figures are those of all batches."""
    x, labels, domains, ids = problem()
    one_label = [row[0] for row in labels]
    expected = retrieval_metrics(
        x, labels, domains, x, one_label, domains, query_ids=ids, index_ids=ids
    )
    torch.multiprocessing.spawn(_collect_half, (str(tmp_path),), nprocs=2)
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt") == [expected.r1, expected.mmp5]


def _collect_half(rank, folder):
    """One of two processes: the first or the last images."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    x, labels, domains, ids = problem()
    mine = slice(rank * 15, None) if rank else slice(0, 15)
    metric = RetrievalMetric(sizes={"query": 40, "index": 40})
    metric.update(x[mine], labels[mine], domains[mine], ids[mine], role="query")
    one_label = [row[0] for row in labels[mine]]
    metric.update(x[mine], one_label, domains[mine], ids[mine], role="index")
    merged = metric.compute()["merged"]
    torch.save([merged.r1, merged.mmp5], f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"role": "gallery"}, 'role must be "query" or "index"'),
        ({"labels": [1]}, "batch of 40 query"),
        ({"embeddings": torch.zeros(40, 7)}, "must all have the same width, got 6 and 7"),
    ],
)
def test_bad_batches_are_refused(change, message):
    """An unknown role and lengths that disagree raise ValueError at the batch that has them."""
    x, labels, domains, ids = problem()
    good = {"embeddings": x, "labels": labels, "domains": domains, "ids": ids, "role": "query"}
    metric = RetrievalMetric()
    metric.update(**good)
    with pytest.raises(ValueError, match=message):
        metric.update(**(good | change))
