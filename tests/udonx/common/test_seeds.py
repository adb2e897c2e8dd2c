"""Random streams by name."""

from __future__ import annotations

import hashlib

import numpy as np

from udonx.common.seeds import generator, stream_seed


def test_stream_seed() -> None:
    """The seed of a stream is the upper 63 bits of sha256("seed/purpose"), the same on every
    machine and for ever.
    """
    expected = int(hashlib.sha256(b"7/init/backbone").hexdigest()[:16], 16) // 2
    assert stream_seed(7, "init/backbone") == expected < 2**63
    assert stream_seed(0, "init/backbone") == 1387958196389792090


def test_streams_differ() -> None:
    """Each (seed, purpose) has a stream of its own, and asking again starts it anew."""
    pairs = [
        (seed, purpose)
        for seed in range(3)
        for purpose in ("order/cars/0", "order/cars/1", "order/sop/0", "image/cars/0")
    ]
    draws = [tuple(generator(*pair).random(4)) for pair in pairs]
    assert len(set(draws)) == len(pairs)
    np.testing.assert_array_equal(draws[5], generator(*pairs[5]).random(4))
