"""Says what this machine has and what it lacks for the course, one line each, with a remedy.

    python -m llama4lab.doctor [packages]      everything, or whether each package is there as a whole

Standard library only, and no package of the course is imported: the doctor must answer where one is broken.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from . import assets, torchvision_pair
from .installed_packages import canonical_name, find_missing_packages, installed_packages

ROOT = Path(__file__).resolve().parents[2]
OK, WARN, FAIL = "ok", "warn", "FAIL"
GIB = 2**30


@dataclass(frozen=True)
class Line:
    """One finding. `verdict` is "ok", "warn" (the course runs, with a limit) or "FAIL" (it does not run)."""

    verdict: str
    topic: str
    finding: str
    remedy: str = ""
    # Whether the verdict is the same on every machine that the course is meant for.
    stable: bool = False

    def __str__(self) -> str:
        remedy = f" -> {self.remedy}" if self.remedy else ""
        return f"{self.verdict:<4}  {self.topic}: {self.finding}{remedy}"


def _line_from_sentence(verdict: str, topic: str, sentence: str) -> Line:
    """Split "what is wrong: what to do." into a stable line."""
    finding, _, remedy = sentence.rstrip(".").rpartition(": ")
    return Line(verdict, topic, finding, remedy, True)


def load_bootstrap() -> ModuleType:
    """Return course.py as a module: it knows which Python and which packages the course needs."""
    spec = importlib.util.spec_from_file_location("course", ROOT / "course.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check_python(version: tuple[int, int, int], oldest: tuple[int, int], newest: tuple[int, int]) -> Line:
    """Compare the version of Python with the oldest and the newest that the course runs on."""
    text = ".".join(map(str, version))
    if oldest <= version[:2] <= newest:
        return Line(OK, "Python", text, stable=True)
    verdict = f"{text} is too {'old' if version[:2] < oldest else 'new'}"
    remedy = "install Python {}.{} to {}.{}".format(*oldest, *newest)
    return Line(FAIL, "Python", verdict, remedy, stable=True)


def read_pins(pip_list: Iterable[str]) -> dict[str, str]:
    """Return {package: version} of the lines that pin one, such as "torch==2.13.0"."""
    matches = (re.fullmatch(r"([A-Za-z0-9._-]+)==([^\s;]+)", line) for line in pip_list)
    return {match[1]: match[2] for match in matches if match}


def check_packages(pins: dict[str, str], versions: Mapping[str, str], missing: list[str]) -> list[Line]:
    """Compare the installed packages with their pins.

    Args:
        pins: version by package.
        versions: the same of what is installed, by canonical name.
        missing: packages that are not installed as a whole, pinned ones or what they need.

    Returns:
        one line if all agree, else one for those that are missing and one for each other version.
    """
    lines = []
    if missing:
        names = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        finding = f"{len(missing)} {'is' if len(missing) == 1 else 'are'} missing as a whole or in part ({names})"
        lines.append(Line(FAIL, "packages", finding, "run `python course.py lab`, which sets up .venv", True))
    for package, pin in pins.items():
        # Without the local part: "2.13.0+cpu" is a build of 2.13.0.
        version = versions.get(canonical_name(package), pin).partition("+")[0]
        if version != pin:
            finding = f"{package} is {version}, its pin {pin}; results may differ from the stored ones"
            remedy = "delete the folder .venv, if there is one, and run `python course.py lab`"
            lines.append(Line(WARN, "packages", finding, remedy, True))
    return lines or [Line(OK, "packages", f"{len(pins)} packages match their pins", stable=True)]


def check_torchvision_pair() -> Line:
    """Say whether torchvision can be imported beside this torch."""
    if not torchvision_pair.installed_builds_differ():
        return Line(OK, "torchvision", "the same build as torch")
    if torchvision_pair.is_installed():
        return Line(OK, "torchvision", "another build than torch; the set-up of the course bridges that")
    return Line(
        FAIL,
        "torchvision",
        "another build than torch, image classes may not load",
        "use the .venv that `python course.py lab` makes, or install torch and torchvision from one index",
    )


def count_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_cores(cores: int) -> Line:
    """The notebooks' times are stated for two cores."""
    if cores < 2:
        return Line(WARN, "cores", "1", "expect about twice the stated minutes, and run `course.py test -n 1`")
    return Line(OK, "cores", str(cores))


def measure_memory(cgroup_limit: Path = Path("/sys/fs/cgroup/memory.max")) -> int | None:
    """Return the bytes of memory that this process may use, None where that cannot be found out."""
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(memory, int(cgroup_limit.read_text()))  # a container's limit; "max" where it has none
    except (OSError, ValueError):
        return memory


def check_memory(memory: int | None) -> Line:
    """A notebook takes at most 2 GiB; the tests run two at once."""
    if memory is None:
        return Line(OK, "memory", "not known on this system; 4 GiB are enough")
    finding = f"{memory / GIB:.1f} GiB"
    if memory < 2 * GIB:
        return Line(FAIL, "memory", finding, "a notebook may need 2 GiB: use a machine with more")
    # A machine sold with 4 GiB reports a little less.
    if memory < 3.5 * GIB:
        return Line(WARN, "memory", finding, "close other programs, and run `python course.py test -n 1`")
    return Line(OK, "memory", finding)


def check_disk(free: int, needed: float) -> Line:
    """Compare the free bytes on the disk of the checkout with what is still needed there."""
    finding = f"{free / 1e9:.1f} GB free"
    if free < needed:
        return Line(FAIL, "disk", finding, f"free {needed / 1e9:.1f} GB on the disk of this folder")
    return Line(OK, "disk", finding)


def check_assets(folder: Path = assets.ASSETS) -> list[Line]:
    """Verify every asset by its sha256: one line if all agree, else one for each that does not."""
    try:
        problems = assets.find_asset_problems(folder)
        number = len(assets.read_manifest(folder))
    except assets.AssetError as error:
        return [_line_from_sentence(FAIL, "assets", str(error))]
    lines = [
        _line_from_sentence(WARN if problem.kind == "unlisted" else FAIL, "assets", problem.sentence())
        for problem in problems
    ]
    return lines or [Line(OK, "assets", f"{number} files verified by sha256", stable=True)]


def find_gpus() -> list[str]:
    """Return the names of the NVIDIA GPUs that the driver's own tool lists."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [name.strip() for name in run.stdout.splitlines() if name.strip()] if run.returncode == 0 else []


def check_gpu(names: list[str]) -> Line:
    """No GPU is required."""
    return Line(OK, "GPU", ", ".join(names) if names else "none found; the course does not need one")


def find_token(variables: dict[str, str], home: str | Path) -> str | None:
    """Return where a Hugging Face token is, in words and never the token itself; None if there is none."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if variables.get(name, "").strip():
            return f"in the variable {name}"
    cache = Path(variables.get("XDG_CACHE_HOME") or Path(home) / ".cache")
    folder = Path(variables.get("HF_HOME") or cache / "huggingface")
    path = Path(variables.get("HF_TOKEN_PATH") or folder / "token")
    try:
        return "in the token file" if Path(os.path.expanduser(path)).read_bytes().strip() else None
    except OSError:
        return None


def check_token(place: str | None) -> Line:
    """A token is only needed for gated checkpoints."""
    if place:
        return Line(OK, "Hugging Face token", f"present, {place}")
    return Line(OK, "Hugging Face token", "none; needed for the real Llama 4 only", "`hf auth login` stores one")


def check_checkpoint(choice: str, models: Path, has_token: bool) -> Line:
    """Say what LLAMA4_CHECKPOINT chooses: the name of a proxy, a folder or a Hugging Face id."""
    topic = "LLAMA4_CHECKPOINT"
    if not choice:
        return Line(OK, topic, "not set; notebooks load scout-proxy")
    if any((folder / "config.json").is_file() for folder in (models / choice, Path(choice))):
        return Line(OK, topic, f"the proxy or folder {choice}")
    if Path(choice).is_dir():
        return Line(FAIL, topic, f"{choice} has no config.json", "name the folder of a checkpoint, or unset it")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", choice):
        finding = f"{choice} is no proxy, no folder and no Hugging Face id"
        return Line(FAIL, topic, finding, "unset it to use scout-proxy")
    if not has_token:
        remedy = "accept the license on the model's page, then `hf auth login`"
        return Line(WARN, topic, f"{choice} from Hugging Face, and there is no token", remedy)
    return Line(OK, topic, f"{choice} from Hugging Face")


def examine_packages(bootstrap: ModuleType) -> list[Line]:
    """Compare the packages of this Python with environment.yml, file by file."""
    try:
        pins = read_pins(bootstrap.read_pip_list(ROOT))
    except bootstrap.CourseError as error:
        return [_line_from_sentence(FAIL, "packages", str(error))]
    versions = {name: package.version for name, package in installed_packages().items()}
    return check_packages(pins, versions, find_missing_packages(pins))


def report() -> list[Line]:
    """Examine this machine; return the findings in the order in which they matter."""
    bootstrap = load_bootstrap()
    packages = examine_packages(bootstrap)
    is_set_up = not any(line.verdict == FAIL for line in packages)
    needed = 0.2e9 if is_set_up else bootstrap.REQUIRED_FREE_GB * 1e9
    token = find_token(dict(os.environ), os.path.expanduser("~"))
    return [
        check_python(tuple(sys.version_info[:3]), bootstrap.MINIMUM_PYTHON, bootstrap.MAXIMUM_PYTHON),
        *packages,
        check_torchvision_pair(),
        check_cores(count_cores()),
        check_memory(measure_memory()),
        check_disk(shutil.disk_usage(ROOT).free, needed),
        *check_assets(),
        check_gpu(find_gpus()),
        check_token(token),
        check_checkpoint(os.environ.get("LLAMA4_CHECKPOINT", ""), assets.ASSETS / "models", bool(token)),
    ]


def stable_verdicts(lines: Iterable[Line]) -> dict[str, str]:
    """Return {topic: worst verdict} of the findings that are the same on every machine meant for the course.

    A notebook can store these: they name no version, size or path.
    """
    order = (OK, WARN, FAIL)
    verdicts: dict[str, str] = {}
    for line in lines:
        if line.stable:
            verdicts[line.topic] = max(verdicts.get(line.topic, OK), line.verdict, key=order.index)
    return verdicts


def main(arguments: list[str]) -> int:
    """Print the report, or its part about packages; return 1 if the course would not run, else 0."""
    if arguments not in ([], ["packages"]):
        print("`doctor` takes no options: run `python course.py doctor`.", file=sys.stderr)
        return 2
    lines = examine_packages(load_bootstrap()) if arguments else report()
    print("\n".join(map(str, lines)))
    return 1 if any(line.verdict == FAIL for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
