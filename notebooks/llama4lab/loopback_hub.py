"""A stand-in for the Hugging Face hub on this machine: one gated repository, served from a folder.

It answers the few requests that `from_pretrained` and `hf_hub_download` make, so that gated access and broken downloads
can be tried without network and account. Nothing leaves the loopback interface.
"""

import hashlib
import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

CHUNK = 2**16  # bytes handed to the network at a time
COMMIT = f"{1:040x}"  # the only one, and so `main`


class LoopbackHub(ThreadingHTTPServer):
    """The server; see `serve_gated`.

    Attributes:
        endpoint: what HF_ENDPOINT must be set to.
        requests_with_token: how many such requests came so far.
        drop_at: set to a number of bytes: the next answer longer than that breaks off after them, once.
        hold_at: likewise, but the connection stays open and silent until the client is gone; `holding` is set then.
        sent: what was delivered of each file, in order: (name, first byte, number of bytes).
    """

    daemon_threads = True

    def __init__(self, folder: Path, repository: str, granted_token: str):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.repository, self.granted_token = folder, repository, granted_token
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        self.requests_with_token = 0
        self.drop_at: int | None = None
        self.hold_at: int | None = None
        self.holding = threading.Event()
        self.sent: list[tuple[str, int, int]] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no fault of the hub; anything else is reported as ever."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: LoopbackHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, with_body: bool) -> None:
        hub, path = self.server, unquote(urlsplit(self.path).path)
        sent = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if sent:
            hub.requests_with_token += 1
        if not (path.startswith(f"/{hub.repository}/") or path.startswith(f"/api/models/{hub.repository}")):
            return self._send(404, {"X-Error-Code": "RepoNotFound"}, b"Repository not found", with_body)
        if sent != hub.granted_token:
            # The hub's own two answers: 401 without a token, 403 with one that has not been granted access.
            return self._send(
                403 if sent else 401,
                {
                    "X-Error-Code": "GatedRepo",
                    "X-Error-Message": f"Access to {hub.repository} is restricted.",
                },
                b"Access is restricted",
                with_body,
            )
        # /owner/name/resolve/REVISION/FILE, /api/models/owner/name[/revision/REVISION][/tree/REVISION[/FOLDER]]
        named = re.search(r"/(?:resolve|revision|tree)/([^/]+)", path)
        if named and named[1] not in ("main", COMMIT):
            return self._send(404, {"X-Error-Code": "RevisionNotFound"}, b"Revision not found", with_body)
        if path.startswith("/api/models/"):
            return self._send(200, {"Content-Type": "application/json"}, self._api(path), with_body)
        file = hub.folder / path.rpartition("/")[2]
        if not file.is_file():
            return self._send(404, {"X-Error-Code": "EntryNotFound"}, b"Entry not found", with_body)
        content = file.read_bytes()
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        headers = {"X-Repo-Commit": COMMIT, "ETag": etag, "Accept-Ranges": "bytes"}
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        first = int(wanted[1]) if wanted else 0
        if first >= len(content) > 0:
            return self._send(416, {"Content-Range": f"bytes */{len(content)}"}, b"", with_body)
        if wanted:
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        self._send(206 if wanted else 200, headers, content[first:], with_body, file.name, first)

    def _api(self, path: str) -> bytes:
        names = sorted(file.name for file in self.server.folder.iterdir() if file.is_file())
        if "/tree/" in path:
            # Asked for a subfolder (`additional_chat_templates`): there is none.
            below = path.partition("/tree/")[2].partition("/")[2]
            files = [] if below else [{"type": "file", "path": name, "size": 0, "oid": ""} for name in names]
            return json.dumps(files).encode()
        siblings = [{"rfilename": name} for name in names]
        return json.dumps({"id": self.server.repository, "sha": COMMIT, "siblings": siblings}).encode()

    def _send(
        self,
        status: int,
        headers: dict[str, str],
        body: bytes,
        with_body: bool,
        file: str | None = None,
        first: int = 0,
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            delivered = self._deliver(body)
            if file is not None:
                self.server.sent.append((file, first, delivered))

    def _deliver(self, body: bytes) -> int:
        """Write the body, or as much of it as the hub is told to; the number of bytes written."""
        hub, stop = self.server, len(body)
        drop = hub.drop_at is not None and stop > hub.drop_at
        hold = not drop and hub.hold_at is not None and stop > hub.hold_at
        if drop:
            stop, hub.drop_at = hub.drop_at, None
        elif hold:
            stop, hub.hold_at = hub.hold_at, None
        for start in range(0, stop, CHUNK):
            self.wfile.write(body[start : min(start + CHUNK, stop)])
        if hold:
            hub.holding.set()
            with suppress(ConnectionError):
                self.connection.recv(1)  # returns, or fails, when the client is gone: it has nothing more to say
        if drop or hold:
            self.close_connection = True
        return stop

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: the log would go to stderr."""


@contextmanager
def serve_gated(folder: Path, repository: str, granted_token: str) -> Iterator[LoopbackHub]:
    """Serve the files of `folder` as the gated `repository` (owner/name) to those who send `granted_token`."""
    hub = LoopbackHub(folder, repository, granted_token)
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
