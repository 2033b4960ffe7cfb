"""Cases of where requests may lead, run where no request can leave the machine.

``unshare -rn python tests/support/walled.py`` has a network of its own, with no way
out of it and whatever addresses this script gives it. It prints a line of JSON for each case.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from bidsplan.errors import BidsplanError
from bidsplan.plan import Entry
from bidsplan.storage import Access, Transport, open_store
from plans import failures, fetch, plan_of, tree
from sites import Page, Site

PUBLIC, OTHER, PRIVATE, LINK_LOCAL = "1.2.3.4", "1.2.3.5", "10.0.0.9", "169.254.169.254"
WRAPPED = ("64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "2001:0:a9fe:a9fe::1", "fd00:ec2::254")
ADDRESSES = (PUBLIC, OTHER, PRIVATE, LINK_LOCAL, *WRAPPED)
HTTP = frozenset({"http"})
FILES = {"ds/sub-1/a.txt": b"hello"}


def lay_addresses() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in ADDRESSES:
        bits = "128" if ":" in address else "32"
        command = ["ip", "addr", "add", f"{address}/{bits}", "dev", "lo"]
        subprocess.run([*command, *(["nodad"] if ":" in address else [])], check=True)


@contextmanager
def resolver(answers):
    """Resolve names as it is said; a list is given one by one, its last for ever."""
    real = socket.getaddrinfo
    left = {name: list(found) for name, found in answers.items()}

    def resolve(host, port, *args, **options):
        found = left.get(host)
        if found is not None:
            host = found.pop(0) if len(found) > 1 else found[0]
        return real(host, port, *args, **options)

    socket.getaddrinfo = resolve
    try:
        yield
    finally:
        socket.getaddrinfo = real


def access(*, untrusted: bool, **more) -> Access:
    return Access(allow_protocols=HTTP, untrusted=untrusted, timeout=5, jobs=4, **more)


def outcome(url: str, *, untrusted: bool = True) -> str:
    """List a root and fetch a file of it; give what came of that."""
    try:
        with open_store(url, access=access(untrusted=untrusted)) as store:
            listed = [item.key for item in store.list()]
    except BidsplanError as error:
        listed = [error.code]
    entries = [Entry(path="a.txt", key="sub-1/a.txt", size=5, reason="selected")]
    with tempfile.TemporaryDirectory() as folder:
        try:
            events = fetch(plan_of(entries, url), folder, access=access(untrusted=untrusted))
            fetched = [error.code for error in failures(events).values()] or sorted(
                tree(Path(folder))
            )
        except BidsplanError as error:
            fetched = [error.code]
    return f"listed {' '.join(listed)}; fetched {' '.join(fetched)}"


@contextmanager
def redirecting(target: str, status: int = 302):
    """Serve redirects at a public address; gives the URL and the site that they lead to."""
    with Site(host=PUBLIC) as public, ExitStack() as stack:
        found = None
        if target in ADDRESSES:
            found = stack.enter_context(Site(host=target))
            found.fill(FILES)
            target = found.url
        for path in ("/ds/", "/ds/sub-1/", "/ds/sub-1/a.txt"):
            public.pages[path] = Page(status=status, headers={"Location": f"{target}{path}"})
        yield f"{public.url}/ds", found


def redirect_cases():
    for target in ADDRESSES:
        for untrusted in (True, False):
            with redirecting(target) as (url, site):
                came = outcome(url, untrusted=untrusted)
                yield f"redirect to {target}, untrusted {untrusted}", came, len(site.requests)
    for target in ("ftp://1.2.3.5", "file://", "http://2852039166", "http://u:p@1.2.3.5"):
        with redirecting(target) as (url, _):
            yield f"redirect to {target}", outcome(url, untrusted=False), 0
    with (
        redirecting("http://[::ffff:169.254.169.254]:80") as (url, _),
        Site(host=LINK_LOCAL) as site,
    ):
        yield "redirect to a mapped address", outcome(url, untrusted=False), len(site.requests)


def second_hop_cases():
    with Site(host=PRIVATE) as site, redirecting(site.url) as (url, _), Site(host=OTHER) as first:
        site.fill(FILES)
        for path in ("/ds/", "/ds/sub-1/", "/ds/sub-1/a.txt"):
            place = url.removesuffix("/ds") + path
            first.pages[path] = Page(status=307, headers={"Location": place})
        yield "second hop to a private host", outcome(f"{first.url}/ds"), len(site.requests)


def rebinding_cases():
    for name, then in (("private", PRIVATE), ("link-local", LINK_LOCAL), ("loopback", "127.0.0.1")):
        for untrusted in (True, False):
            with Site(host=then) as site, resolver({"study.example": [PUBLIC, then]}):
                site.fill(FILES)
                url = f"http://study.example:{site.port}/ds"
                came = outcome(url, untrusted=untrusted)
            yield f"rebinding to {name}, untrusted {untrusted}", came, len(site.requests)


def named_cases():
    with Site(host=LINK_LOCAL) as site, resolver({"storage.example": [LINK_LOCAL]}):
        site.fill(FILES)
        url = f"http://storage.example:{site.port}"
        yield (
            "a name of a link-local host",
            outcome(f"{url}/ds", untrusted=False),
            len(site.requests),
        )
        for transport in (Transport.OBSTORE, Transport.FSSPEC):
            entries = [Entry(path="a.txt", key="sub-1/a.txt", size=5, reason="selected")]
            reach = access(untrusted=False, endpoint_url=url, transport=transport)
            with tempfile.TemporaryDirectory() as folder:
                try:
                    events = fetch(plan_of(entries, "s3://ds"), folder, access=reach)
                    came = " ".join(error.code for error in failures(events).values())
                except BidsplanError as error:
                    came = error.code
            yield f"a link-local endpoint by {transport.value}", came, len(site.requests)


def main() -> None:
    lay_addresses()
    for cases in (redirect_cases, second_hop_cases, rebinding_cases, named_cases):
        for name, came, requests in cases():
            sys.stdout.write(json.dumps([name, came, requests]) + "\n")


if __name__ == "__main__":
    main()
