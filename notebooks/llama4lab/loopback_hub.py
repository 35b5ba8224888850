"""A stand-in for the Hugging Face hub on this machine: one gated repository, served from a folder.

It answers the few requests that `from_pretrained` makes, so that gated access can be tried without network
and account. Nothing leaves the loopback interface.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class LoopbackHub(ThreadingHTTPServer):
    """The server; see `serve_gated`.

    Attributes:
        endpoint: what HF_ENDPOINT must be set to.
        requests_with_token, requests_without_token: how many requests came so far.
    """

    daemon_threads = True

    def __init__(self, folder: Path, repository: str, granted_token: str):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.repository, self.granted_token = folder, repository, granted_token
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        self.requests_with_token = self.requests_without_token = 0


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
        else:
            hub.requests_without_token += 1
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
        if path.startswith("/api/models/"):
            return self._send(200, {"Content-Type": "application/json"}, self._api(path), with_body)
        file = hub.folder / path.rpartition("/")[2]
        if not file.is_file():
            return self._send(404, {"X-Error-Code": "EntryNotFound"}, b"Entry not found", with_body)
        content = file.read_bytes()
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        self._send(200, {"X-Repo-Commit": COMMIT, "ETag": etag}, content, with_body)

    def _api(self, path: str) -> bytes:
        names = sorted(file.name for file in self.server.folder.iterdir() if file.is_file())
        if "/tree/" in path:
            # Asked for a subfolder (`additional_chat_templates`): there is none.
            below = path.partition("/tree/")[2].partition("/")[2]
            files = [] if below else [{"type": "file", "path": name, "size": 0, "oid": ""} for name in names]
            return json.dumps(files).encode()
        siblings = [{"rfilename": name} for name in names]
        return json.dumps({"id": self.server.repository, "sha": COMMIT, "siblings": siblings}).encode()

    def _send(self, status: int, headers: dict[str, str], body: bytes, with_body: bool) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: the log would go to stderr."""


@contextmanager
def serve_gated(folder: Path, repository: str, granted_token: str) -> Iterator[LoopbackHub]:
    """Serve the files of `folder` as the gated `repository` (owner/name) to whoever sends `granted_token`."""
    hub = LoopbackHub(folder, repository, granted_token)
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
