"""Answer ListObjectsV2 for keys that a file lists, as fast as a Python process can.

The file has a line for each object, sorted by key: key, size and entity tag, between tabs. What is
not asked of a listing is not here: objects themselves are served by nginx, which stands before it::

    python benchmarks/list_responder.py 9000 objects.tsv
"""

from __future__ import annotations

import asyncio
import sys
from bisect import bisect_left
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import parse_qs, quote, urlsplit

import uvloop

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE = 1000
HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name>'
)


class Index:
    """Objects in the order of their keys, each with its piece of XML.

    Parameters
    ----------
    path : Path
    """

    keys: Sequence[str]
    _pieces: Sequence[str]

    def __init__(self, path: Path) -> None:
        self.keys = keys = []
        self._pieces = pieces = []
        for line in path.read_text(encoding="utf-8").splitlines():
            key, size, etag = line.split("\t")
            keys.append(key)
            pieces.append(
                f"<Contents><Key>{quote(key)}</Key><LastModified>2026-01-01T00:00:00.000Z"
                f"</LastModified><ETag>&quot;{etag}&quot;</ETag><Size>{size}</Size>"
                "<StorageClass>STANDARD</StorageClass></Contents>"
            )

    def page(self, query: dict[str, str]) -> bytes:
        """Answer one request for a page.

        Parameters
        ----------
        query : dict of str to str

        Returns
        -------
        bytes
        """
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token") or query.get("start-after", "")
        place = bisect_left(self.keys, max(prefix, f"{after}\0" if after else ""))
        most = min(PAGE, int(query.get("max-keys", PAGE)))
        pieces: list[str] = []
        last = ""
        while len(pieces) < most and place < len(self.keys) and self.keys[place].startswith(prefix):
            place, last, piece = self._next(place, prefix, delimiter)
            pieces.append(piece)
        more = place < len(self.keys) and self.keys[place].startswith(prefix)
        encoded = "<EncodingType>url</EncodingType>" if "encoding-type" in query else ""
        token = f"<NextContinuationToken>{last}</NextContinuationToken>" if more else ""
        return (
            f"{HEAD}<Prefix>{quote(prefix)}</Prefix><KeyCount>{len(pieces)}</KeyCount>"
            f"<MaxKeys>{most}</MaxKeys>{encoded}<IsTruncated>{str(more).lower()}</IsTruncated>"
            f"{token}{''.join(pieces)}</ListBucketResult>"
        ).encode()

    def _next(self, place: int, prefix: str, delimiter: str) -> tuple[int, str, str]:
        """Give the next object or directory, and where to go on."""
        key = self.keys[place]
        end = key.find(delimiter, len(prefix)) if delimiter else -1
        if end < 0:
            return place + 1, key, self._pieces[place]
        directory = key[: end + len(delimiter)]
        last = f"{directory}\U0010ffff"
        piece = f"<CommonPrefixes><Prefix>{quote(directory)}</Prefix></CommonPrefixes>"
        return bisect_left(self.keys, last), last, piece


class Responder(asyncio.Protocol):
    """One connection.

    Parameters
    ----------
    index : Index
    """

    def __init__(self, index: Index) -> None:
        self.index = index
        self._waiting = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._waiting += data
        while b"\r\n\r\n" in self._waiting:
            request, _, self._waiting = self._waiting.partition(b"\r\n\r\n")
            target = urlsplit(request.split(b" ", 2)[1].decode())
            query = {name: found[0] for name, found in parse_qs(target.query).items()}
            body, headers = self.answer(target.path, query)
            lines = [f"{name}: {text}\r\n" for name, text in headers.items()]
            head = f"HTTP/1.1 200 OK\r\n{''.join(lines)}Content-Length: {len(body)}\r\n\r\n"
            self._transport.write(head.encode() + body)

    def answer(self, path: str, query: dict[str, str]) -> tuple[bytes, dict[str, str]]:
        """Return an answer's body and headers.

        Parameters
        ----------
        path : str
        query : dict of str to str

        Returns
        -------
        bytes, dict of str to str
        """
        return self.index.page(query), {"Content-Type": "application/xml"}


async def main() -> None:
    """Serve until stopped."""
    port, path = int(sys.argv[1]), Path(sys.argv[2])
    index = Index(path)
    server = await asyncio.get_running_loop().create_server(
        lambda: Responder(index), "127.0.0.1", port, backlog=1024
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
