"""Where the course's stored models, configurations and measurements are, and whether they are intact.

`assets/SHA256SUMS` holds one line for each file, `<sha256>  <path relative to assets>`, in the format of
sha256sum. Verify or rewrite it:

    python -m llama4lab.assets verify
    python -m llama4lab.assets write
"""

import hashlib
import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from llama4lab.errors import CourseError

ASSETS = Path(__file__).resolve().parents[2] / "assets"
MANIFEST_NAME = "SHA256SUMS"
_MANIFEST_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


class AssetError(CourseError):
    """An asset or the manifest is not as it was stored; the text is one sentence with the remedy."""


@dataclass(frozen=True)
class AssetProblem:
    """One file that differs from the manifest. `kind` is "missing", "corrupt" or "unlisted"."""

    kind: str
    path: str  # relative to the folder of assets, with forward slashes

    def sentence(self) -> str:
        """Say what is wrong and what to do about it, in one sentence."""
        if self.kind == "unlisted":
            return (
                f"assets/{self.path} is not listed in assets/{MANIFEST_NAME}: remove the file, or list it "
                "with `python -m llama4lab.assets write` in notebooks/."
            )
        what = "is missing" if self.kind == "missing" else "is corrupt (its sha256 is not the stored one)"
        return f"assets/{self.path} {what}: {restore_sentence(self.path)}"


def restore_sentence(path: str) -> str:
    """How to get a file or folder back, given relative to `assets`: by git, or without it in a ZIP download."""
    path = f"assets/{path}"
    if (ASSETS.parent / ".git").exists():
        quoted = f'"{path}"' if " " in path else path
        return f"restore it with `git checkout -- {quoted}`."
    return f"download the course again and copy {path} from there."


def read_json(path: str, folder: Path = ASSETS):
    """The content of a JSON file of the course, named relative to `folder`: "measurements/balance.json".

    Raises:
        AssetError: it is missing or damaged.
    """
    try:
        return json.loads((folder / path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AssetError(f"assets/{path} cannot be read: {restore_sentence(path)}") from error


def read_picture(path: str, folder: Path = ASSETS):
    """A picture of the course as a `PIL.Image.Image`, named relative to `folder`: "samples/pictures/00.png".

    Raises:
        AssetError: it is missing or damaged.
    """
    from PIL import Image  # here: the doctor reads this module where no package is installed

    try:
        with Image.open(folder / path) as picture:
            picture.load()
    except (OSError, SyntaxError) as error:  # Pillow raises SyntaxError for a PNG with broken blocks
        raise AssetError(f"assets/{path} cannot be read: {restore_sentence(path)}") from error
    return picture


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file as 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def list_asset_files(folder: Path = ASSETS) -> list[str]:
    """Return the sorted paths, relative to `folder`, of the files that a manifest lists.

    Left out are the manifest itself, hidden files, and what Python leaves beside the scripts that it runs.
    """
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(
        path.as_posix()
        for path in paths
        if path.as_posix() != MANIFEST_NAME
        and not any(part.startswith(".") or part == "__pycache__" for part in path.parts)
    )


def read_manifest(folder: Path = ASSETS) -> dict[str, str]:
    """Return {path relative to `folder`: sha256}. Raises AssetError if the manifest cannot be used."""
    remedy = restore_sentence(MANIFEST_NAME)
    try:
        lines = (folder / MANIFEST_NAME).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise AssetError(f"assets/{MANIFEST_NAME} is missing: {remedy}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise AssetError(f"assets/{MANIFEST_NAME} cannot be read ({error}): {remedy}") from error
    digests = {}
    for number, line in enumerate(lines, start=1):
        match = _MANIFEST_LINE.fullmatch(line)
        # A path that leads out of the folder would have other files than assets read.
        if match is None or match[2].startswith("/") or ".." in PurePosixPath(match[2]).parts:
            raise AssetError(f"assets/{MANIFEST_NAME}, line {number}, is not `<sha256>  <path>`: {remedy}")
        digests[match[2]] = match[1]
    return digests


def _lies_under(path: str, under: str) -> bool:
    return not under or path == under or path.startswith(under.rstrip("/") + "/")


def find_asset_problems(folder: Path = ASSETS, under: str = "") -> list[AssetProblem]:
    """Compare the files with the manifest; return what is missing, corrupt or unlisted, sorted by path.

    Args:
        folder: the folder that holds the manifest.
        under: look only at this folder or file within it, such as "models/scout-proxy"; "" for everything.

    Raises AssetError if the manifest itself is missing or malformed.
    """
    digests = {path: digest for path, digest in read_manifest(folder).items() if _lies_under(path, under)}
    unlisted = {path for path in list_asset_files(folder) if _lies_under(path, under)} - digests.keys()
    problems = [AssetProblem("unlisted", path) for path in unlisted]
    for path, digest in digests.items():
        if not (folder / path).is_file():
            problems.append(AssetProblem("missing", path))
        elif file_sha256(folder / path) != digest:
            problems.append(AssetProblem("corrupt", path))
    return sorted(problems, key=lambda problem: problem.path)


def verify_assets(folder: Path = ASSETS, under: str = "") -> int:
    """Return how many files agree with the manifest, if all do; arguments as `find_asset_problems`.

    Raises AssetError that names the first problem, what to do, and how many more there are.
    """
    problems = find_asset_problems(folder, under)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise AssetError(problems[0].sentence() + more)
    number_verified = sum(_lies_under(path, under) for path in read_manifest(folder))
    if under and not number_verified:
        raise AssetError(f"assets/{MANIFEST_NAME} lists nothing under {under}: check the name.")
    return number_verified


def write_manifest(folder: Path = ASSETS) -> int:
    """Write the manifest of all files in `folder`, in one step; return how many it lists."""
    paths = list_asset_files(folder)
    text = "".join(f"{file_sha256(folder / path)}  {path}\n" for path in paths)
    partial = folder / f".{MANIFEST_NAME}.partial"
    partial.write_text(text, encoding="utf-8", newline="\n")
    os.replace(partial, folder / MANIFEST_NAME)
    return len(paths)


def main(arguments: list[str], folder: Path = ASSETS) -> int:
    """Run `verify` or `write`; return the exit code."""
    if arguments == ["write"]:
        print(f"assets/{MANIFEST_NAME} lists {write_manifest(folder)} files.")
        return 0
    if arguments != ["verify"]:
        print("Say what to do: `python -m llama4lab.assets verify` or `write`.", file=sys.stderr)
        return 2
    try:
        problems = find_asset_problems(folder)
    except AssetError as error:
        print(error, file=sys.stderr)
        return 1
    for problem in problems:
        print(problem.sentence(), file=sys.stderr)
    if problems:
        return 1
    print(f"{len(read_manifest(folder))} assets agree with assets/{MANIFEST_NAME}.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
