"""Who hears what happens in a run: whoever listens, else the live view of a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import attrs

from udonx.common.console import live_lines, shows_bars
from udonx.engine.device import describe
from udonx.forecast.left import TimeLeft
from udonx.planning.plan import Plan
from udonx.running.events import Listener, RunBegun
from udonx.running.live import LiveView
from udonx.running.session import Session, row_id


@contextmanager
def telling(plans: Sequence[Plan], session: Session, listen: Listener | None) -> Iterator[Session]:
    """Within, what happens is heard.

    Args:
        plans: what is run.
        session: how it runs.
        listen: hears it; without one a terminal that shows bars shows a live view.

    Yields:
        The session whose rows tell.
    """
    if listen is None and not shows_bars():
        yield session
        return
    left = TimeLeft(plans, session.results, describe(session.device))
    rows = tuple(row_id(planned, plan) for plan in plans for planned in plan.rows)
    begun = RunBegun(rows=rows, seconds_left=left.of_all())
    if listen is not None:
        listen(begun)
        yield attrs.evolve(session, tell=listen, left=left)
        return
    view = LiveView()
    view.listen(begun)
    with live_lines(view.lines):
        yield attrs.evolve(session, tell=view.listen, left=left)
