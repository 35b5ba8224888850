#!/usr/bin/env python3
"""Run the course "Inside Llama 4: for its developers".

    python course.py lab [jupyter options]     open the course in JupyterLab
    python course.py test [pytest options]     check the notebooks, the exercises and the code
    python course.py doctor                    say what this machine has and what it lacks
    python course.py progress                  show which exercises you have solved, and what to do next
    python course.py store [NN ...]            execute notebooks from the top and store their outputs
    python course.py book [--serve] [--pdf]    build the course as a web page and open it
    python course.py drift [pytest options]    try the course on the newest releases of its packages

The first of them (`doctor` and `progress` excepted) installs the pinned packages of environment.yml into .venv.
Needs Python 3.11 to 3.14, and nothing else. What the commands do is in notebooks/llama4lab/commands.py.
"""

# An older Python must get a sentence and not a SyntaxError: nothing in this file is newer than Python 3.8.
import contextlib
import errno
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

try:
    import fcntl
except ImportError:  # Windows: two set-ups at once are not kept apart there.
    fcntl = None

MINIMUM_PYTHON, MAXIMUM_PYTHON = (3, 11), (3, 14)
COMMANDS = ("lab", "test", "doctor", "progress", "store", "book", "drift")
# What stays in .venv, and what must be free beforehand: pip keeps the downloads until all is installed.
VENV_GB, REQUIRED_FREE_GB = 2.2, 3.2
# On Linux the default index has torch's CUDA build, and the index of the CPU builds may not answer.
CUDA_VENV_GB, CUDA_REQUIRED_FREE_GB = 5.9, 9
INDEX_SECONDS = 4
STAMP_NAME = "course-stamp.json"
NO_NETWORK = re.compile(
    "connection error|connection broken|ConnectionError|ConnectTimeout|ReadTimeout|timed out|ProxyError|"
    "SSLError|Name or service not known|name resolution|IncompleteRead|Connection reset"
)


class CourseError(Exception):
    """Something that the user can fix; the text is one sentence that says what is wrong and what to do."""

    def __init__(self, sentence, exit_code=1):
        super().__init__(sentence)
        self.exit_code = exit_code


# ---- what has to be installed ----


def read_pip_list(root):
    """Return the lines of the `pip:` list of environment.yml: pins ("torch==2.13.0") and pip options."""
    try:
        text = (root / "environment.yml").read_text(encoding="utf-8")
    except OSError as error:
        raise CourseError(
            f"environment.yml cannot be read ({error.strerror}): take it from the course's repository again."
        ) from error
    body = re.sub(r"(^|\s)#.*", "", text, flags=re.MULTILINE).partition("- pip:")[2]
    lines = re.findall(r"^\s+- (.+?)\s*$", body, re.MULTILINE)
    if not lines:
        raise CourseError("environment.yml has no `pip:` list: take it from the course's repository again.")
    return lines


def answers(url):
    """Whether the page of `url` can be had within INDEX_SECONDS."""
    program = f"import urllib.request; urllib.request.urlopen({url.rstrip('/') + '/'!r})"
    try:
        # A process of its own, because no timeout of urllib ends a name look-up that hangs.
        run = subprocess.run([sys.executable, "-I", "-c", program], stderr=subprocess.DEVNULL, timeout=INDEX_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return run.returncode == 0


def choose_requirements(pip_list, platform=sys.platform, is_answering=answers):
    """Return the lines for pip, and whether torch may be the CUDA build.

    The extra index is asked on Linux only, and left out where it does not answer: pip would retry about 8 s
    for each package. Elsewhere the default build of torch is the CPU build.
    """
    options = [line for line in pip_list if line.startswith("--extra-index-url")]
    others = [line for line in pip_list if line not in options]
    if platform != "linux" or not options:
        return others, False
    if all(is_answering(option.split()[1]) for option in options):
        return options + others, False
    return others, True


# ---- .venv: is it complete, and making it so ----


def environment_python(root):
    """Return the path of the interpreter in .venv, whether it exists or not."""
    return root / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def expected_stamp(root):
    """Return what the stamp of a complete .venv says; it is void when the list changes or .venv moves."""
    pip_list = "\n".join(read_pip_list(root))
    return {"list": hashlib.sha256(pip_list.encode()).hexdigest(), "location": str(root / ".venv")}


def is_stamped(root):
    """Whether .venv was completed from this environment.yml, in this place, and its Python is still there."""
    try:
        stamp = json.loads((root / ".venv" / STAMP_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return stamp == expected_stamp(root) and environment_python(root).exists()


def has_all_packages(root):
    """Whether the doctor, asked with the Python in .venv, finds every file of every package."""
    command = [str(environment_python(root)), "-m", "llama4lab.doctor", "packages"]
    run = subprocess.run(command, cwd=str(root / "notebooks"), env=child_variables(root), stdout=subprocess.PIPE)
    return run.returncode == 0


def write_stamp(root):
    """Declare .venv complete, in one step."""
    partial = root / ".venv" / "course-stamp.partial"
    partial.write_text(json.dumps(expected_stamp(root), indent=1) + "\n", encoding="utf-8")
    partial.replace(root / ".venv" / STAMP_NAME)


def child_variables(root):
    """Return the variables for pip and the commands: no other Python's modules, and a HOME that can be written."""
    left_out = ("PYTHONHOME", "PYTHONPATH", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT")
    variables = {name: value for name, value in os.environ.items() if name not in left_out}
    variables["PIP_USER"] = "0"
    if not os.access(os.path.expanduser("~"), os.W_OK):
        # Matplotlib, IPython, Jupyter and pip keep files in HOME, and some report on stderr that they cannot.
        home = root / ".work" / "home"
        home.mkdir(parents=True, exist_ok=True)
        variables["HOME"] = str(home)
    return variables


@contextlib.contextmanager
def setup_lock(root):
    """Hold this checkout's lock for set-up; yield its file. Waits, and says so, while another has it.

    The file is handed on to pip, so that the lock outlives a killed course.py for as long as its pip works.
    """
    (root / ".work").mkdir(exist_ok=True)
    with open(str(root / ".work" / "setup.lock"), "a") as stream:
        if fcntl:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print("Another course.py is setting up .venv: waiting for it to end.", flush=True)
                fcntl.flock(stream, fcntl.LOCK_EX)
        yield stream


def stop_cleanly_when_told():
    """Let SIGTERM and a closed terminal do what Ctrl-C does, so that an unfinished .venv is removed."""

    def stop(signal_number, frame):
        raise KeyboardInterrupt

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)


def run_step(command, root, lock):
    """Run one step of the set-up, which speaks for itself; return its exit code. Ends it when this process is stopped."""
    inherited = {} if os.name == "nt" else {"pass_fds": (lock.fileno(),)}
    # pip unpacks gigabytes in the folder for temporary files, and leaves them there when it is stopped.
    variables = dict(child_variables(root), TMPDIR=str(root / ".work" / "tmp"))
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd=str(root), env=variables, **inherited)
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def explain_failure(root, required_gb):
    """Return the CourseError for a failed step, from what pip logged."""
    log = root / ".work" / "setup.log"
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    if "No space left on device" in text or "Disk quota exceeded" in text:
        return no_space(required_gb)
    # An index that does not answer looks to pip like one that has no version at all.
    if NO_NETWORK.search(text) and ("(from versions: none)" in text or "No matching dist" not in text):
        return CourseError(
            "The packages cannot be downloaded because the network or the package index does not answer: "
            "connect, or set PIP_INDEX_URL to an index that answers, and run the same command again."
        )
    return CourseError(
        "The packages of environment.yml cannot be installed: fix what is reported above (.work/setup.log "
        "has the details) and run the same command again."
    )


def no_space(required_gb):
    return CourseError(
        f"There is not enough disk space to set up the course: free {required_gb:g} GB on the disk of this "
        "folder, and run the same command again."
    )


def explain_os_error(error):
    """Return the CourseError for an OSError that no step expects."""
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return no_space(REQUIRED_FREE_GB)
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return CourseError(
            "The folder of the course cannot be written: copy or clone the course into a folder of your own and "
            "run the command there."
        )
    return CourseError(f"The set-up failed ({error}): fix that and run the same command again.")


def remove_environment(root):
    """Delete .venv. Raises CourseError if .venv is something that this program did not make."""
    environment, stamp = root / ".venv", root / ".venv" / STAMP_NAME
    if environment.is_symlink() or (environment.exists() and not environment.is_dir()):
        raise CourseError(
            ".venv is not a folder, and the course needs that name: rename or remove it, and run the same "
            "command again."
        )
    if stamp.exists():
        stamp.unlink()  # first: nothing may vouch for a .venv that was removed only in part
    if environment.exists():
        shutil.rmtree(str(environment))


def build_environment(root, lock):
    """Make .venv anew from environment.yml. Leaves no .venv when that fails or is stopped."""
    pip_list = read_pip_list(root)
    remove_environment(root)
    requirements, may_be_cuda = choose_requirements(pip_list)
    size, required = (CUDA_VENV_GB, CUDA_REQUIRED_FREE_GB) if may_be_cuda else (VENV_GB, REQUIRED_FREE_GB)
    if shutil.disk_usage(str(root)).free < required * 1e9:
        raise no_space(required)
    if may_be_cuda:
        print("The index of torch's CPU builds does not answer: pip takes the CUDA build.", flush=True)
    started = time.monotonic()
    number = sum(not line.startswith("-") for line in pip_list)
    print(
        f"Setting up the course, once: {number} pinned packages go into .venv. This takes a few minutes, and "
        f"{'up to ' if may_be_cuda else ''}{size:g} GB of disk.",
        flush=True,
    )
    work = root / ".work"
    shutil.rmtree(str(work / "tmp"), ignore_errors=True)
    (work / "tmp").mkdir()
    log, list_file = work / "setup.log", work / "requirements.txt"
    log.write_bytes(b"")
    list_file.write_text("\n".join(requirements) + "\n", encoding="utf-8")
    # course.py may itself be running on the .venv that was just removed.
    base_python = getattr(sys, "_base_executable", None) or sys.executable
    install = [str(environment_python(root)), "-I", "-m", "pip", "install", "--no-input"]
    install += ["--disable-pip-version-check", "--log", str(log), "--requirement", str(list_file)]
    try:
        for command in ([base_python, "-I", "-m", "venv", str(root / ".venv")], install):
            if run_step(command, root, lock) != 0:
                raise explain_failure(root, required)
        if not has_all_packages(root):
            raise CourseError(
                "pip reported no error, but packages are not in .venv: take what sends them elsewhere out of "
                "`pip config list`, and run the same command again."
            )
        write_stamp(root)
    except BaseException:
        remove_environment(root)
        raise
    finally:
        shutil.rmtree(str(work / "tmp"), ignore_errors=True)
    print(f"Set-up done in {time.monotonic() - started:.0f} s.")


def ensure_environment(root):
    """Make .venv complete if it is not. Writes nothing when it is. Raises CourseError."""
    if is_stamped(root) and has_all_packages(root):
        return
    stop_cleanly_when_told()
    with setup_lock(root) as lock:
        if not (is_stamped(root) and has_all_packages(root)):  # another course.py may have finished it meanwhile
            build_environment(root, lock)


# ---- the commands ----


def run_command(root, arguments):
    """Become the program that does the command, so that signals and the exit code are its own."""
    python, options = str(environment_python(root)), ["-P", "-m", "llama4lab.commands", *arguments]
    if arguments[0] in ("doctor", "progress"):
        if not is_stamped(root):
            python = sys.executable
            if arguments[0] == "doctor":
                print("The course has not set up .venv here: these are the findings for the Python that you called.")
        options = ["-m", "llama4lab." + arguments[0], *arguments[1:]]
        os.chdir(str(root / "notebooks"))
    else:
        ensure_environment(root)
    sys.stdout.flush()
    if os.name == "nt":
        return subprocess.call([python, *options], env=child_variables(root))
    return os.execve(python, [python, *options], child_variables(root))


def main(arguments):
    """Run one command; return the exit code."""
    usage = "\n".join(line for line in __doc__.splitlines() if line.startswith("    python course.py"))
    try:
        if not MINIMUM_PYTHON <= sys.version_info[:2] <= MAXIMUM_PYTHON:
            raise CourseError(
                "This course needs Python 3.11 to 3.14 and this is Python {}.{}: install one of these (from "
                "python.org or your system) and call course.py with it.".format(*sys.version_info[:2])
            )
        if arguments[:1] in (["-h"], ["--help"]):
            print(__doc__.strip())
            return 0
        if not arguments or arguments[0] not in COMMANDS:
            problem = f"Unknown command {arguments[0]!r}." if arguments else "Which command?"
            raise CourseError(f"{problem} These are known:\n{usage}", 2)
        return run_command(pathlib.Path(__file__).resolve().parent, arguments)
    except (CourseError, OSError) as error:
        if os.environ.get("COURSE_TRACEBACK"):
            raise
        problem = error if isinstance(error, CourseError) else explain_os_error(error)
        print(f"course.py: {problem}", file=sys.stderr)
        return problem.exit_code
    except KeyboardInterrupt:
        print("course.py: stopped; the next call starts an unfinished set-up again.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
