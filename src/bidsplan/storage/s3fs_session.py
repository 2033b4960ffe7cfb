"""The HTTP session that s3fs's client is given: it follows no redirect."""

from __future__ import annotations

from typing import Any

from aiobotocore.httpsession import AIOHTTPSession

__all__ = ["NoRedirectSession", "RedirectedError"]


class RedirectedError(Exception):
    """The storage sends a request elsewhere.

    Parameters
    ----------
    status : int
    headers : dict of str to str
        Of the answer, by names in lower case.
    """

    def __init__(self, status: int, headers: dict[str, str]) -> None:
        super().__init__(f"redirected ({status})")
        self.status = status
        self.headers = headers


class _Session:
    """Passes requests on to aiohttp, and raises where the answer is a redirect.

    aiohttp would follow it, and send the session token along; botocore would ask for the bucket's
    region, be redirected again, and so on.
    """

    def __init__(self, session: Any) -> None:  # noqa: ANN401 - aiohttp's
        self._session = session

    async def request(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - aiohttp's
        answer = await self._session.request(*args, **options, allow_redirects=False)
        if 300 <= answer.status < 400 and answer.status != 304:
            headers = {name.lower(): text for name, text in answer.headers.items()}
            answer.close()
            raise RedirectedError(answer.status, headers)
        return answer


class NoRedirectSession(AIOHTTPSession):  # type: ignore[misc] # aiobotocore is untyped
    """As aiobotocore's own session, but for redirects."""

    async def _get_session(self, proxy_url: str | None) -> _Session:
        return _Session(await super()._get_session(proxy_url))
