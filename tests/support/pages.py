"""An S3 server whose listings come in small pages, which a fault cuts, repeats or reorders."""

from __future__ import annotations

import threading
from hashlib import md5
from http.server import BaseHTTPRequestHandler
from typing import NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

from servers import HOST, _Server


class Sent(NamedTuple):
    """A page: its names, whether more follow, and the token, or a made one."""

    names: list[str]
    more: bool
    token: str | None = None


def by_directory(name):
    """Order keys as servers do that walk directories."""
    return name.replace("/", "\0")


class PagedServer:
    """Serves objects of the bucket ``b``.

    Parameters
    ----------
    files : dict of str to bytes
    fault : callable, optional
        Takes the pages of names of a listing, and how many of them were asked for before; gives
        the page to send.
    of : callable
        Which queries' listings have the fault.
    page : int
        Names of a page.
    order : callable
        The key that names are ordered by.
    knows : int or str
        Version 1 or 2 of listings; or the error code by which version 2 is refused.
    classes : dict of str to str
        Storage classes of keys.

    Attributes
    ----------
    queries : list of dict
        Of each listing.
    """

    def __init__(
        self,
        files,
        fault=None,
        *,
        of=lambda _: True,
        page=2,
        order=str,
        knows=2,
        next_marker=True,
        heeds_start=True,
        classes=None,
    ):
        self.files = dict(files)
        self.fault, self.of, self.page = fault, of, page
        self.order, self.knows, self.next_marker = order, knows, next_marker
        self.heeds_start = heeds_start
        self.classes = classes or {}
        self.queries = []
        self.written = []
        self._begun = {}
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def do_GET(self):
                server.answer(self)

            do_HEAD = do_PUT = do_DELETE = do_GET

            def log_message(self, *_):
                pass

        self._server = _Server((HOST, 0), Handler)
        self.url = f"http://{HOST}:{self._server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def answer(self, handler):
        url = urlsplit(handler.path)
        query = {n: v[0] for n, v in parse_qs(url.query, keep_blank_values=True).items()}
        key = unquote(url.path).removeprefix("/b").removeprefix("/")
        status, headers, body = self._found(handler, key, query)
        handler.send_response(status)
        for name, text in {"Content-Length": len(body), **headers}.items():
            handler.send_header(name, str(text))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)

    def _found(self, handler, key, query):
        if handler.command in {"PUT", "DELETE"}:
            self.written.append((handler.command, key))
            body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
            if handler.command == "PUT":
                self.files[key] = body
            else:
                self.files.pop(key, None)
            return 200, {"ETag": f'"{md5(body).hexdigest()}"'}, b""
        if not key:
            self.queries.append(query)
            status, text = self._listing(query)
            return status, {"Content-Type": "application/xml"}, text.encode()
        data = self.files.get(key)
        if data is None:
            return 404, {}, b"<Error><Code>NoSuchKey</Code></Error>"
        headers = {"ETag": f'"{md5(data).hexdigest()}"', "x-amz-version-id": "1"}
        return 200, headers, data

    def _listing(self, query):
        if "list-type" in query and isinstance(self.knows, str):
            return 400, f"<Error><Code>{self.knows}</Code></Error>"
        by_2 = "list-type" in query and self.knows == 2
        start = query.get("start-after", "") if by_2 and self.heeds_start else ""
        place = query.get(
            "key-marker" if "versions" in query else "continuation-token" if by_2 else "marker", ""
        )
        if self.fault is not None and self.of(query):
            sent = self._faulty(query, start, place)
        else:
            pages = self._pages(query, place or start)
            sent = Sent(pages[0], len(pages) > 1, pages[0][-1] if pages[0] else "")
        return 200, self._xml(query, sent, by_2)

    def _faulty(self, query, start, place):
        listing = (query["prefix"], "delimiter" in query, "versions" in query)
        if not place:
            self._begun[listing] = (start, 0)
        start, asked = self._begun[listing]
        self._begun[listing] = (start, asked + 1)
        return self.fault(self._pages(query, start), asked)

    def _pages(self, query, after):
        names = self._names(query["prefix"], query.get("delimiter", ""), after)
        return [names[at : at + self.page] for at in range(0, len(names), self.page)] or [[]]

    def _names(self, prefix, delimiter, after):
        found = set()
        for key in self.files:
            if key.startswith(prefix):
                end = key.find("/", len(prefix)) if delimiter else -1
                found.add(key[: end + 1] if end >= 0 else key)
        order = self.order
        return sorted((name for name in found if order(name) > order(after)), key=order)

    def _xml(self, query, sent, by_2):
        versions = "versions" in query
        more = str(sent.more).lower()
        head = f"<EncodingType>url</EncodingType><IsTruncated>{more}</IsTruncated>"
        if versions:
            following = "NextKeyMarker"
        elif by_2:
            following, head = (
                "NextContinuationToken",
                f"{head}<KeyCount>{len(sent.names)}</KeyCount>",
            )
        else:
            following, head = "NextMarker", f"{head}<Marker></Marker>"
        token = sent.token if sent.more and (self.next_marker or by_2 or versions) else ""
        text = f"<{following}>{quote(token, safe='/')}</{following}>" if token else ""
        items = "".join(self._item(name, versions) for name in sent.names)
        root = "ListVersionsResult" if versions else "ListBucketResult"
        return f"<{root}>{head}{text}{items}</{root}>"

    def _item(self, name, versions):
        if name.endswith("/"):
            return f"<CommonPrefixes><Prefix>{quote(name, safe='/')}</Prefix></CommonPrefixes>"
        data = self.files.get(name, b"x")
        fields = {
            "Key": quote(name, safe="/"),
            "Size": len(data),
            "ETag": f'"{md5(data).hexdigest()}"',
            "StorageClass": self.classes.get(name, "STANDARD"),
        }
        kind = "Version" if versions else "Contents"
        if versions:
            fields |= {"VersionId": "1", "IsLatest": "true"}
        inside = "".join(
            f"<{field}>{escape(str(text))}</{field}>" for field, text in fields.items()
        )
        return f"<{kind}>{inside}</{kind}>"
