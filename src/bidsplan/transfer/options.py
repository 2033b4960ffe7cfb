"""The options of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from bidsplan.destination.cache_options import CacheOptions
    from bidsplan.plan import Planned
    from bidsplan.plan.integrity import VerifyMode
    from bidsplan.transfer.decide import Existing


class Options(NamedTuple):
    """The options of a run; see `materialise`."""

    existing: Existing
    checking: VerifyMode
    dry_run: bool = False
    wait: bool = False
    check_space: bool = True
    find_unplanned: bool = False
    cache: CacheOptions | None = None
    whole: Planned | None = None
