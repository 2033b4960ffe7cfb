"""The HTTP session that s3fs's client is given: it reaches one host, and follows no redirect."""

from __future__ import annotations

import functools
from typing import Any

from aiobotocore.httpsession import AIOHTTPSession
from yarl import URL

from bidsplan.errors import RefusedHostError


class RedirectedError(Exception):
    """The storage sends a request elsewhere.

    Parameters
    ----------
    headers : dict of str to str
        Of the answer, by names in lower case.
    """

    def __init__(self, status: int, headers: dict[str, str]) -> None:
        super().__init__(f"redirected ({status})")
        self.status = status
        self.headers = headers


class _Session:
    """Passes requests to one host on to aiohttp, and raises where an answer is a redirect.

    aiohttp would follow it, and send the session token along; botocore would ask for the bucket's
    region, be redirected again, and so on. And botocore makes hosts of some buckets' names,
    whatever endpoint it was told.
    """

    def __init__(self, session: Any, origin: URL) -> None:
        self._session = session
        self._origin = origin

    async def request(self, method: str, url: URL, **options: Any) -> Any:
        if url.origin() != self._origin:
            raise RefusedHostError("the bucket's name leads to another host than the endpoint")
        answer = await self._session.request(method, url=url, **options, allow_redirects=False)
        if 300 <= answer.status < 400 and answer.status != 304:
            headers = {name.lower(): text for name, text in answer.headers.items()}
            answer.close()
            raise RedirectedError(answer.status, headers)
        return answer


@functools.cache
def session_class(endpoint: str) -> type[Any]:
    """Give the class of sessions that reach one endpoint and nothing else.

    Returns
    -------
    type
        As aiobotocore's own, but for redirects and other hosts.
    """
    origin = URL(endpoint).origin()

    class _ConfinedSession(AIOHTTPSession):  # type: ignore[misc] # aiobotocore is untyped
        async def send(self, request: Any) -> Any:
            answer = await super().send(request)
            # Its headers have one of each name; of two tags neither may pass for the object's.
            tags = answer.raw.headers.getall("ETag", ())
            if len(tags) > 1:
                answer.headers["ETag"] = ", ".join(tags)
            return answer

        async def _get_session(self, proxy_url: str | None) -> _Session:
            return _Session(await super()._get_session(proxy_url), origin)

    return _ConfinedSession
