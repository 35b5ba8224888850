"""Verification of assets by sha256, on temporary folders."""

import hashlib
import subprocess

import pytest
from PIL import Image

from llama4lab import assets
from llama4lab.assets import AssetError, AssetProblem


@pytest.fixture
def folder(tmp_path):
    """A folder of three assets and their manifest, with files that no manifest lists beside them."""
    (tmp_path / "models" / "a b").mkdir(parents=True)
    (tmp_path / "models" / "a b" / "model.safetensors").write_bytes(bytes(range(256)))
    (tmp_path / "models" / "config.json").write_text("{}\n")
    (tmp_path / "claims.yml").write_text("claims: []\n")
    (tmp_path / "recipes" / "__pycache__").mkdir(parents=True)
    (tmp_path / "recipes" / "__pycache__" / "train.pyc").write_bytes(b"compiled")
    (tmp_path / ".DS_Store").write_bytes(b"hidden")
    assert assets.write_manifest(tmp_path) == 3
    return tmp_path


def test_manifest_is_what_sha256sum_writes(folder):
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    assert [line[66:] for line in lines] == [
        "claims.yml",
        "models/a b/model.safetensors",
        "models/config.json",
    ]
    assert lines[1] == hashlib.sha256(bytes(range(256))).hexdigest() + "  models/a b/model.safetensors"
    run = subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, capture_output=True)
    assert run.returncode == 0


def test_writing_twice_gives_the_same_bytes(folder):
    before = (folder / "SHA256SUMS").read_bytes()
    assets.write_manifest(folder)
    assert (folder / "SHA256SUMS").read_bytes() == before
    assert not [path for path in folder.iterdir() if path.name.endswith(".partial")]


def test_intact_assets(folder):
    assert assets.find_asset_problems(folder) == []
    assert assets.verify_assets(folder) == 3
    assert assets.verify_assets(folder, under="models") == 2
    assert assets.verify_assets(folder, under="models/config.json") == 1


def flip_one_bit(path):
    content = bytearray(path.read_bytes())
    content[7] ^= 1
    path.write_bytes(content)


def test_corrupt_asset(folder):
    flip_one_bit(folder / "models" / "a b" / "model.safetensors")
    with pytest.raises(AssetError) as caught:
        assets.verify_assets(folder)
    assert str(caught.value) == (
        "assets/models/a b/model.safetensors is corrupt (its sha256 is not the stored one): restore it with "
        '`git checkout -- "assets/models/a b/model.safetensors"`.'
    )


def test_missing_asset(folder):
    (folder / "models" / "config.json").unlink()
    with pytest.raises(AssetError) as caught:
        assets.verify_assets(folder, under="models")
    assert str(caught.value) == (
        "assets/models/config.json is missing: restore it with `git checkout -- assets/models/config.json`."
    )


def test_unlisted_asset(folder):
    (folder / "models" / "extra.bin").write_bytes(b"x")
    with pytest.raises(AssetError, match="assets/models/extra.bin is not listed .* remove the file"):
        assets.verify_assets(folder)


def test_several_problems_are_all_found(folder):
    flip_one_bit(folder / "claims.yml")
    (folder / "models" / "config.json").unlink()
    (folder / "zz.bin").write_bytes(b"x")
    assert assets.find_asset_problems(folder) == [
        AssetProblem("corrupt", "claims.yml"),
        AssetProblem("missing", "models/config.json"),
        AssetProblem("unlisted", "zz.bin"),
    ]
    with pytest.raises(AssetError, match=r"claims.yml is corrupt .* \(and 2 more\)$"):
        assets.verify_assets(folder)


def test_problem_elsewhere_does_not_matter_to_one_model(folder):
    flip_one_bit(folder / "claims.yml")
    assert assets.verify_assets(folder, under="models/a b") == 1


@pytest.mark.parametrize("read, path", [(assets.read_json, "models/config.json"), (assets.read_picture, "red.png")])
def test_a_file_that_cannot_be_read_is_named(folder, read, path, monkeypatch):
    Image.new("RGB", (40, 40), "red").save(folder / "red.png")
    assert read(path, folder) is not None
    whole = (folder / path).read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", None):
        (folder / path).unlink()
        if damaged is not None:
            (folder / path).write_bytes(damaged)
        with pytest.raises(AssetError, match=f"assets/{path} cannot be read: restore it with `git checkout --"):
            read(path, folder)
        (folder / path).write_bytes(whole)
    monkeypatch.setattr(assets, "ASSETS", folder / "assets")  # a download as ZIP: no .git beside it
    (folder / path).unlink()
    with pytest.raises(AssetError, match=f"download the course again and copy assets/{path} from there"):
        read(path, folder)


def test_name_that_the_manifest_does_not_know(folder):
    with pytest.raises(AssetError, match="lists nothing under models/unknown"):
        assets.verify_assets(folder, under="models/unknown")


def test_missing_manifest(folder):
    (folder / "SHA256SUMS").unlink()
    with pytest.raises(AssetError, match="assets/SHA256SUMS is missing: restore it with `git checkout --"):
        assets.verify_assets(folder)


@pytest.mark.parametrize("line", ["", "abc  claims.yml", f"{'0' * 64}  ../course.py", f"{'0' * 64}  /etc/hosts"])
def test_malformed_manifest(folder, line):
    with open(folder / "SHA256SUMS", "a") as stream:
        stream.write(line + "\n")
    with pytest.raises(AssetError, match="assets/SHA256SUMS, line 4, is not"):
        assets.verify_assets(folder)


def test_command_line(folder, capsys):
    assert assets.main(["verify"], folder) == 0
    assert "3 assets agree" in capsys.readouterr().out
    flip_one_bit(folder / "claims.yml")
    (folder / "models" / "config.json").unlink()
    assert assets.main(["verify"], folder) == 1
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert assets.main(["write"], folder) == 0
    assert assets.main(["verify"], folder) == 0
    assert assets.main([], folder) == 2
    (folder / "SHA256SUMS").unlink()
    assert assets.main(["verify"], folder) == 1


def test_assets_of_the_course_are_intact():
    assert assets.find_asset_problems() == []
