"""Small files are fetched while large ones use the threads that there are for them."""

from __future__ import annotations

import threading
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bidsplan import Access, Finished, materialise
from plans import plan_over

LARGE = {f"a/{number:03}.nii.gz": bytes((4 << 20) + 1) for number in range(80)}
SMALL = {f"b/{number:03}.json": b"%d" % number for number in range(30)}


class Server(ThreadingHTTPServer):
    """Sends no large file until every small one was requested."""

    daemon_threads = True

    def __init__(self):
        self.asked = set()
        self.released = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def do_GET(self):
                key = self.path.removeprefix("/ds/")
                data = LARGE.get(key) or SMALL[key]
                if key in LARGE and not server.released.wait(30):
                    self.send_error(400)
                    return
                self.send_response(200)
                self.send_header("ETag", f'"{md5(data).hexdigest()}"')
                self.send_header("Content-Length", len(data))
                self.end_headers()
                self.wfile.write(data)
                server.asked.add(key)
                if server.asked >= SMALL.keys():
                    server.released.set()

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)


def test_small_files_do_not_wait_behind_large_ones(tmp_path):
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/ds"
        access = Access(allow_protocols=frozenset({"http"}))
        plan = plan_over(url, LARGE | SMALL)
        events = list(materialise(plan, tmp_path / "d", access=access))
        server.shutdown()
    done = [event for event in events if isinstance(event, Finished)]
    assert len(done) == len(LARGE) + len(SMALL)
