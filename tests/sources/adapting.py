"""A source's rule tried on its own example, with some columns changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from medmax_pipeline.records import Draft, Drop, check_draft
from medmax_pipeline.sources.record import Source


def adapting(record: Source) -> tuple[Callable[..., Draft | Drop], Callable[..., Draft]]:
    """What becomes of the record's example with these changes: the one thing it gives, and the same as a draft."""

    def adapt(**changes: Any) -> Draft | Drop:
        made = record.adapt({**record.example, **changes})
        assert isinstance(made, Draft | Drop)
        if isinstance(made, Draft):
            check_draft(made)
        return made

    def draft(**changes: Any) -> Draft:
        made = adapt(**changes)
        assert isinstance(made, Draft), made
        return made

    return adapt, draft
