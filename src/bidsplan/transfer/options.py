"""The options of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bidsplan.urls import parse_url

if TYPE_CHECKING:
    from bidsplan.destination.base import Destination
    from bidsplan.destination.cache_options import CacheOptions
    from bidsplan.destination.content_cache import ContentCache
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

    def open_cache(self, destination: Destination, plan: Planned) -> ContentCache | None:
        """Open the content cache, if there is one."""
        if self.cache is None:
            return None
        from bidsplan.destination.content_cache import ContentCache  # only if there is a cache

        root = destination.url if parse_url(destination.url).protocol == "file" else None
        return ContentCache(self.cache, destination.stop.is_set, root, plan)
