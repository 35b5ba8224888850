"""llama4lab.loopback_hub, asked by the real client: parts of files, broken connections, revisions."""

import socket
import urllib.error
import urllib.request

import huggingface_hub
import pytest
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

from llama4lab.loopback_hub import COMMIT, serve_gated

REPOSITORY, TOKEN = "owner/gated", "granted"
CONTENT = bytes(range(256)) * 50_000  # 12.8 MB, more than the client's 10 MiB chunk


@pytest.fixture(autouse=True)
def not_offline(monkeypatch):
    # `course.py test` sets HF_HUB_OFFLINE; the hub of these tests is on this machine.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    huggingface_hub.close_session()


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "large.bin").write_bytes(CONTENT)
    (folder / "note.txt").write_text("new", encoding="utf-8")
    (folder / "empty.txt").write_text("", encoding="utf-8")
    return folder


def download(hub, tmp_path, name, **options):
    options = {"token": TOKEN} | options
    path = hf_hub_download(REPOSITORY, name, endpoint=hub.endpoint, cache_dir=tmp_path / "cache", **options)
    with open(path, "rb") as stream:
        return stream.read()


def test_a_broken_connection_is_resumed_by_the_client(folder, tmp_path):
    with serve_gated(folder, REPOSITORY, TOKEN) as hub:
        hub.drop_at = 11_000_000
        assert download(hub, tmp_path, "large.bin") == CONTENT
        assert hub.sent == [("large.bin", 0, 11_000_000), ("large.bin", 10 * 2**20, len(CONTENT) - 10 * 2**20)]


def test_a_held_connection_ends_with_its_client(folder):
    with serve_gated(folder, REPOSITORY, TOKEN) as hub:
        for unread in (0, 1_000_000):  # what was not read makes the system reset the connection, not close it
            hub.holding.clear()
            hub.hold_at = 11_000_000
            with socket.create_connection(hub.server_address) as client:
                request = f"GET /{REPOSITORY}/resolve/main/large.bin HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
                client.sendall(request.encode())
                answer = client.makefile("rb")
                while answer.readline().strip():
                    pass
                assert len(answer.read(11_000_000 - unread)) == 11_000_000 - unread
                assert hub.holding.wait(30)
                answer.close()
    assert hub.sent == [("large.bin", 0, 11_000_000)] * 2


def test_short_answers_are_not_broken(folder, tmp_path):
    with serve_gated(folder, REPOSITORY, TOKEN) as hub:
        hub.drop_at = 100
        assert download(hub, tmp_path, "note.txt") == b"new"
        assert download(hub, tmp_path, "empty.txt") == b"" and hub.drop_at == 100


@pytest.mark.parametrize(
    "wanted, status, first",
    [("bytes=0-", 206, 0), ("bytes=12799999-", 206, 12_799_999), ("bytes=12800000-", 416, None), ("lines=1-", 200, 0)],
)
def test_parts_of_a_file(folder, wanted, status, first):
    with serve_gated(folder, REPOSITORY, TOKEN) as hub:
        request = urllib.request.Request(
            f"{hub.endpoint}/{REPOSITORY}/resolve/main/large.bin",
            headers={"Authorization": f"Bearer {TOKEN}", "Range": wanted},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                content = answer.read()
        except urllib.error.HTTPError as error:
            answer, content = error, b""
        assert answer.status == status
        expected = f"bytes {first}-12799999/12800000" if status == 206 else None
        assert status == 416 or (answer.headers["Content-Range"] == expected and content == CONTENT[first:])


def test_revisions(folder, tmp_path):
    with serve_gated(folder, REPOSITORY, TOKEN) as hub:
        for revision in ("main", COMMIT):
            assert download(hub, tmp_path, "note.txt", revision=revision) == b"new"
        with pytest.raises(RevisionNotFoundError):
            download(hub, tmp_path, "note.txt", revision="a-branch")
        api = HfApi(endpoint=hub.endpoint, token=TOKEN)
        assert api.model_info(REPOSITORY).sha == COMMIT
        assert api.list_repo_files(REPOSITORY, revision=COMMIT) == ["empty.txt", "large.bin", "note.txt"]


def test_who_may_not_read(folder, tmp_path):
    with serve_gated(folder, REPOSITORY, TOKEN) as hub:
        for token in (False, "another"):
            with pytest.raises(GatedRepoError):
                download(hub, tmp_path, "note.txt", token=token)
        with pytest.raises(RepositoryNotFoundError):
            hf_hub_download("owner/other", "note.txt", endpoint=hub.endpoint, cache_dir=tmp_path, token=TOKEN)
        assert hub.requests_with_token and not hub.sent
