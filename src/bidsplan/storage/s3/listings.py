"""Lists an S3 bucket page by page, with ListObjects version 2 or 1."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from bidsplan.errors import StorageError, UnreachableError
from bidsplan.paths import printable
from bidsplan.storage import network
from bidsplan.storage.http_errors import status_error
from bidsplan.storage.pager import Pager
from bidsplan.storage.retry import retrying
from bidsplan.storage.s3.listing_xml import NoListingError, Page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bidsplan.storage.s3.client import S3Client


LARGEST_PAGE = 1 << 24
"""The most bytes of a page of a listing that are accepted."""

_UNKNOWN = frozenset({"InvalidArgument", "MethodNotAllowed", "NotImplemented"})
"""Error codes of servers that do not support ListObjects version 2."""

_log = logging.getLogger(__name__)


class _OnlyVersion1Error(Exception):
    """The server does not know ListObjectsV2."""


class Listings:
    """Lists one bucket, and passes on only pages that fit together.

    The methods raise ListingError if the server's pages do not fit together, and other
    StorageErrors if the server does not answer.
    """

    def __init__(self, client: S3Client) -> None:
        self._client = client
        self._knows_version_2 = True

    def objects(self, prefix: str, *, delimiter: str = "", after: str = "") -> Iterator[Page]:
        """List the objects after a key, page by page."""
        query = {"prefix": prefix} | ({"delimiter": delimiter} if delimiter else {})
        if self._knows_version_2:
            version_2 = query | {"list-type": "2"}
            try:
                yield from self._follow(version_2, {"start-after": after}, _next_token)
                return
            except _OnlyVersion1Error as error:
                # Only the first page raises this error, so nothing was passed on yet.
                self._knows_version_2 = False
                server, what = self._client.connection.endpoint, self._what(prefix)
                _log.debug("%s: %s %s; ListObjects is used (version 1)", what, server, error)
        yield from self._follow(query, {"marker": after}, _next_marker)

    def versions(self, prefix: str) -> Iterator[Page]:
        """List versions of the objects directly below a prefix, page by page."""
        query = {"versions": "", "prefix": prefix, "delimiter": "/"}
        return self._follow(query, {}, _next_version)

    def _follow(
        self,
        query: dict[str, str],
        place: Mapping[str, str],
        next_place: Callable[[Page], dict[str, str]],
    ) -> Iterator[Page]:
        """Request the pages of a listing, beginning at a given place.

        Parameters
        ----------
        next_place : callable
            Returns the parameters of the query for the page after a given one.
        """
        prefix, server = query["prefix"], self._client.connection.endpoint
        pager = Pager(self._what(prefix), prefix, server, delimited="delimiter" in query)
        following: Mapping[str, str] | None = place
        while following is not None:
            # An empty value has no meaning, and servers refuse an empty version.
            further = {name: text for name, text in following.items() if text}
            page = retrying()(self._page, {"encoding-type": "url", **query, **further})
            following = next_place(page) if page.truncated else None
            pager.check(page.names, len(page), following)
            yield page

    def _what(self, prefix: str) -> str:
        return f"listing s3://{self._client.bucket}/{printable(prefix)}"

    def _page(self, query: dict[str, str]) -> Page:
        what = self._what(query["prefix"])
        probing = "list-type" in query and "continuation-token" not in query

        def refused(status: int, what: str, code: str, *more: Any, **named: Any) -> Exception:
            if probing and code in _UNKNOWN:
                return _OnlyVersion1Error(f"refuses ListObjectsV2 ({status} {code})")
            return status_error(status, what, code, *more, **named)

        answer = self._client.request("GET", query=query, what=what, refused=refused)
        data = network.read_bounded(answer, what, limit=LARGEST_PAGE)
        if len(data) > LARGEST_PAGE:
            raise StorageError(f"{what}: the answer is no listing")
        try:
            page = Page(data, what)
        except NoListingError as error:
            raise UnreachableError(f"{what}: the answer is no listing ({error})") from error
        kind = "ListVersionsResult" if "versions" in query else "ListBucketResult"
        if page.kind != kind:
            raise StorageError(f"{what}: the answer is no listing, but {printable(page.kind)!r}")
        if probing and page.is_version_1:
            raise _OnlyVersion1Error("answers ListObjectsV2 as ListObjects")
        return page


def _next_token(page: Page) -> dict[str, str]:
    return {"continuation-token": page.text("NextContinuationToken")}


def _next_marker(page: Page) -> dict[str, str]:
    # If the page does not name the next place, it is the last name.
    last = max((names[-1] for names in page.names if names), default="")
    return {"marker": page.key("NextMarker") or last}


def _next_version(page: Page) -> dict[str, str]:
    key, version = page.key("NextKeyMarker"), page.text("NextVersionIdMarker")
    return {"key-marker": key, "version-id-marker": version} if key else {}
