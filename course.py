#!/usr/bin/env python3
"""Run the course "Inside Llama 4: for its developers".

    python course.py lab [jupyter options]     open the course in JupyterLab
    python course.py test [pytest options]     check the notebooks, the exercises and the code
    python course.py doctor                    say what this machine has and what it lacks
    python course.py store [NN ...]            execute notebooks from the top and store their outputs

The first `lab`, `test` or `store` installs the pinned packages of environment.yml into .venv.
Needs Python 3.11 or newer, and nothing else.
"""

# Python 3.6 must be able to parse and import this file, so that an old Python gets a sentence
# and not a SyntaxError: no newer syntax, no newer module at the top.
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
import threading
import time
import urllib.error
import urllib.request

try:
    import fcntl
except ImportError:  # Windows has its own way to lock a file.
    fcntl = None
    import msvcrt

MINIMUM_PYTHON = (3, 11)
REQUIRED_FREE_GB = 2.5  # 1.6 GB stay in .venv; pip unpacks its largest files beside that
FULL_DISK_BYTES = 20e6
REPORT_SECONDS = 15
INDEX_TIMEOUT_SECONDS = 3
STAMP_NAME = "course-stamp.json"
PAIR_MODULE = "llama4_torchvision_pair"
FIRST_NOTEBOOK = "notebooks/00_start_here.ipynb"
NO_NETWORK = re.compile(
    "connection error|connection broken|ConnectionError|ConnectTimeout|ReadTimeout|timed out|ProxyError|"
    "SSLError|Name or service not known|name resolution|IncompleteRead|Connection reset"
)


class CourseError(Exception):
    """Something that the user can mend; the text is one sentence that says what is wrong and what to do."""

    def __init__(self, sentence, exit_code=1):
        super().__init__(sentence)
        self.exit_code = exit_code


class Stopped(BaseException):
    """A signal asked to end the set-up."""

    def __init__(self, signal_number):
        super().__init__(signal_number)
        self.signal_number = signal_number


def say(text):
    print(text, flush=True)


# ---- what has to be installed ----


def read_pip_list(root):
    """Return the lines of the `pip:` list of environment.yml: pins ("torch==2.13.0") and pip options."""
    try:
        text = (root / "environment.yml").read_text(encoding="utf-8")
    except OSError as error:
        raise CourseError(
            f"environment.yml cannot be read ({error.strerror}): restore it with `git checkout -- environment.yml`."
        ) from error
    lines, pip_indent = [], None
    for line in text.splitlines():
        body = re.sub(r"(^|\s)#.*", "", line).rstrip()
        if not body:
            continue
        indent = len(body) - len(body.lstrip())
        if body.strip() == "- pip:":
            pip_indent = indent
        elif pip_indent is not None and indent > pip_indent and body.lstrip().startswith("- "):
            lines.append(body.lstrip()[2:].strip())
        else:
            pip_indent = None
    if not lines:
        raise CourseError("environment.yml has no `pip:` list: restore it with `git checkout -- environment.yml`.")
    return lines


def answers(url):
    """Whether the server of `url` answers within INDEX_TIMEOUT_SECONDS."""
    found = []

    def ask():
        try:
            urllib.request.urlopen(url.rstrip("/") + "/", timeout=INDEX_TIMEOUT_SECONDS).close()
            found.append(True)
        except urllib.error.HTTPError as error:
            # pip retries on a server's own failures, and takes "not found" for an answer.
            found.append(error.code < 500)
        except (OSError, ValueError):
            found.append(False)

    # A thread, because no timeout ends a name look-up that hangs.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(INDEX_TIMEOUT_SECONDS + 0.5)
    return bool(found and found[0])


def choose_requirements(pip_list, platform=sys.platform, is_answering=answers):
    """Return the lines for pip: an extra index on Linux only, and only where it answers.

    pip retries about 8 s per package where an index does not answer. Elsewhere than on Linux the default
    build of torch is the CPU build.
    """
    chosen = []
    for line in pip_list:
        if not line.startswith("--extra-index-url"):
            chosen.append(line)
        elif platform == "linux":
            url = re.split(r"[\s=]+", line, maxsplit=1)[1]
            if is_answering(url):
                chosen.append(line)
            else:
                say(
                    "The index of torch's CPU builds does not answer: pip takes torch from the default "
                    "index. That build may need several GB more."
                )
    return chosen


# ---- .venv: is it complete, and making it so ----


def environment_python(root):
    """Return the path of the interpreter in .venv, whether it exists or not."""
    return root / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def probe_interpreter(python):
    """Return {"version": "3.11", "packages": folder} of an interpreter, or None if it does not run."""
    program = (
        "import json, sys, sysconfig; print(json.dumps({'version': '%d.%d' % sys.version_info[:2], "
        "'packages': sysconfig.get_path('purelib')}))"
    )
    try:
        run = subprocess.run([str(python), "-I", "-c", program], capture_output=True, timeout=60)
        return json.loads(run.stdout.decode()) if run.returncode == 0 else None
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def expected_stamp(root, python_version):
    """Return what the stamp of a complete .venv says; it is void when the list changes or .venv moves."""
    return {
        "list": hashlib.sha256("\n".join(read_pip_list(root)).encode()).hexdigest(),
        "python": python_version,
        "location": str(root / ".venv"),
    }


def write_stamp(root, python_version):
    """Declare .venv complete. Atomic, and after everything else has reached the disk."""
    stamp = root / ".venv" / STAMP_NAME
    partial = stamp.with_suffix(".partial")
    partial.write_text(json.dumps(expected_stamp(root, python_version), indent=1) + "\n", encoding="utf-8")
    if hasattr(os, "sync"):
        os.sync()
    os.replace(str(partial), str(stamp))


def complete_environment(root):
    """Return what `probe_interpreter` says of .venv if it is complete and runs, else None."""
    try:
        stamp = json.loads((root / ".venv" / STAMP_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    found = probe_interpreter(environment_python(root))
    if found is None or stamp != expected_stamp(root, found["version"]):
        return None
    return found


def pair_files(root, packages):
    """Yield (path in .venv, content) of the files that let torchvision be imported: torchvision_pair.py."""
    source = root / "notebooks" / "llama4lab" / "torchvision_pair.py"
    line = f"import {PAIR_MODULE}; {PAIR_MODULE}.install()\n"
    yield pathlib.Path(packages) / (PAIR_MODULE + ".py"), source.read_bytes()
    yield pathlib.Path(packages) / (PAIR_MODULE + ".pth"), line.encode()


def pair_is_installed(root, packages):
    """Whether .venv holds the current files of `pair_files`."""
    return all(path.is_file() and path.read_bytes() == content for path, content in pair_files(root, packages))


def install_pair(root, packages):
    """Write the files of `pair_files`, each in one step: another interpreter may be starting."""
    for path, content in pair_files(root, packages):
        partial = path.with_suffix(".partial")
        partial.write_bytes(content)
        os.replace(str(partial), str(path))


def try_lock(stream):
    """Take the lock of an open file; return whether it was free. Raises OSError where files have no locks."""
    try:
        if fcntl is None:
            stream.seek(0)
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return False
        raise
    return True


@contextlib.contextmanager
def setup_lock(root):
    """Hold this checkout's lock for set-up; yield its file. Waits, and says so, while another has it.

    The file is handed on to pip, so that the lock outlives a killed course.py for as long as its pip works.
    """
    folder = root / ".work"
    folder.mkdir(exist_ok=True)
    with open(str(folder / "setup.lock"), "a") as stream:
        reported = None
        while not try_lock(stream):
            if reported is None or time.monotonic() - reported >= REPORT_SECONDS:
                say("Another course.py is setting up .venv: waiting for it to end.")
                reported = time.monotonic()
            time.sleep(0.2)
        yield stream


@contextlib.contextmanager
def stopping_signals():
    """Turn Ctrl-C, SIGTERM and a closed terminal into `Stopped`, so that the set-up can clean up."""

    def stop(signal_number, frame):
        # Cleaning up takes a moment; a second Ctrl-C must not cut it short.
        for number in replaced:
            signal.signal(number, signal.SIG_IGN)
        raise Stopped(signal_number)

    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [getattr(signal, name) for name in names]
    replaced = {n: signal.getsignal(n) for n in numbers if signal.getsignal(n) != signal.SIG_IGN}
    for number in replaced:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)


def describe_last_step(log):
    """Return what pip did last according to its log, in a few words."""
    with open(str(log), "rb") as stream:
        stream.seek(max(0, os.path.getsize(str(log)) - 20000))
        lines = stream.read().decode("utf-8", "replace").splitlines()
    for line in reversed(lines):
        words = line.split()
        if words and words[0] == "Installing" and len(words) > 1:
            return "unpacking the packages"
        if words and words[0] in ("Collecting", "Downloading", "Using") and len(words) > 1:
            return "{} {}".format(words[0].lower(), words[-1 if words[0] == "Using" else 1].rsplit("/", 1)[-1])
    return "preparing"


def run_logged(command, log, lock, report_seconds=REPORT_SECONDS):
    """Run a command with its output appended to `log`, reporting progress; return its exit code.

    Stops the command when this process is told to stop.
    """
    started = time.monotonic()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    # These options of pip's own configuration would send packages elsewhere than into .venv.
    environment = {n: v for n, v in environment.items() if n not in ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT")}
    environment["PIP_USER"] = "0"
    inherited = {} if os.name == "nt" else {"pass_fds": (lock.fileno(),)}
    with open(str(log), "ab") as stream:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=environment, **inherited
        )
        try:
            while True:
                try:
                    return process.wait(timeout=report_seconds)
                except subprocess.TimeoutExpired:
                    say(f"  {time.monotonic() - started:4.0f} s: {describe_last_step(log)}")
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def explain_failure(log, details):
    """Return the CourseError for a failed installation, from what pip logged."""
    text = "".join(path.read_text(encoding="utf-8", errors="replace") for path in (log, details) if path.exists())
    # The venv module does not say why it failed, so the disk is looked at too.
    is_full = shutil.disk_usage(str(log.parent)).free < FULL_DISK_BYTES
    if is_full or "No space left on device" in text or "Disk quota exceeded" in text:
        return no_space()
    # An index that does not answer looks to pip like one that has no version at all.
    if NO_NETWORK.search(text) and ("(from versions: none)" in text or "No matching dist" not in text):
        return CourseError(
            "The packages cannot be downloaded because the network or the package index does not answer: "
            "connect, or set PIP_INDEX_URL to an index that answers, and run the same command again."
        )
    tail = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-8:]
    print("\n".join("  | " + line for line in tail), file=sys.stderr)
    return CourseError(
        "The packages of environment.yml cannot be installed: mend what pip says above (all of it is in "
        ".work/setup.log) and run the same command again."
    )


def no_space():
    return CourseError(
        f"There is not enough disk space to set up the course: free {REQUIRED_FREE_GB} GB on the disk of "
        "this folder and in the folder for temporary files (TMPDIR), and run the same command again."
    )


def explain_os_error(error):
    """Return the CourseError for an OSError during set-up."""
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return no_space()
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return CourseError(
            "The course needs to make .venv, and its folder cannot be written: copy or clone the course into "
            "a folder of your own and run the command there."
        )
    return CourseError(
        "The set-up failed ({}: {}): mend that and run the same command again.".format(
            error.strerror or error, error.filename or "no file named"
        )
    )


def remove_environment(root):
    """Delete .venv. Raises CourseError if .venv is something that this program did not make."""
    environment = root / ".venv"
    stamp = environment / STAMP_NAME
    if environment.is_symlink() or (environment.exists() and not environment.is_dir()):
        raise CourseError(
            ".venv is not a folder, and the course needs that name: rename or remove it, and run the same "
            "command again."
        )
    if stamp.exists():
        stamp.unlink()  # first, so that nothing vouches for a .venv that was removed only in part
    if environment.exists():
        shutil.rmtree(str(environment))


def build_environment(root, lock):
    """Make .venv anew from environment.yml. Leaves no .venv behind when that fails or is stopped."""
    pip_list = read_pip_list(root)
    try:
        import ensurepip  # noqa: F401
    except ImportError as error:
        raise CourseError(
            "This Python came without its venv module: install it (on Debian and Ubuntu: "
            "`sudo apt install python3-venv`) and run the same command again."
        ) from error
    remove_environment(root)
    if shutil.disk_usage(str(root)).free < REQUIRED_FREE_GB * 1e9:
        raise no_space()
    started = time.monotonic()
    number_of_packages = len([line for line in pip_list if not line.startswith("-")])
    say(
        f"Setting up the course, once: {number_of_packages} pinned packages go into .venv. This takes about "
        "1 minute on a fast machine and network, several on slow ones, and 1.6 GB of disk."
    )
    log, details = root / ".work" / "setup.log", root / ".work" / "setup-details.log"
    requirements = root / ".work" / "requirements.txt"
    for path in (log, details):
        path.write_bytes(b"")
    requirements.write_text("\n".join(choose_requirements(pip_list)) + "\n", encoding="utf-8")
    # course.py may itself be running on the .venv that was just removed.
    base_python = getattr(sys, "_base_executable", None) or sys.executable
    python = str(environment_python(root))
    install = [python, "-I", "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    install += ["--progress-bar", "off", "--log", str(details), "--requirement", str(requirements)]
    try:
        for command in ([base_python, "-I", "-m", "venv", str(root / ".venv")], install):
            if run_logged(command, log, lock) != 0:
                raise explain_failure(log, details)
        found = probe_interpreter(python)
        if found is None:
            raise CourseError("The Python in .venv does not run: reinstall Python and run the same command again.")
        install_pair(root, found["packages"])
        write_stamp(root, found["version"])
    except BaseException:
        remove_environment(root)
        raise
    say(f"Set-up done in {time.monotonic() - started:.0f} s.")


def ensure_environment(root):
    """Make .venv complete if it is not. Writes nothing when it is. Raises CourseError, Stopped."""
    found = complete_environment(root)
    if found and pair_is_installed(root, found["packages"]):
        return
    try:
        with stopping_signals(), setup_lock(root) as lock:
            found = complete_environment(root)  # another course.py may have finished it meanwhile
            if found is None:
                build_environment(root, lock)
            elif not pair_is_installed(root, found["packages"]):
                install_pair(root, found["packages"])
    except OSError as error:
        raise explain_os_error(error) from error


# ---- the commands ----


def run_program(command, folder, environment):
    """Become `command`, so that signals and the exit code are its own. Returns only on Windows: the code."""
    sys.stdout.flush()
    if os.name == "nt":
        return subprocess.call(command, cwd=str(folder), env=environment)
    os.chdir(str(folder))
    return os.execve(command[0], command, environment)


def environment_variables(root, **defaults):
    """Return this process's variables, with .venv's programs first on PATH and the given defaults."""
    variables = dict(defaults, **os.environ)
    programs = str(environment_python(root).parent)
    variables["PATH"] = programs + os.pathsep + variables.get("PATH", os.defpath)
    variables["VIRTUAL_ENV"] = str(root / ".venv")
    variables["HF_HUB_DISABLE_TELEMETRY"] = "1"
    # A kernel named python3 that the user installed elsewhere must not be taken instead of .venv's.
    variables["JUPYTER_PREFER_ENV_PATH"] = "1"
    variables.pop("PYTHONHOME", None)
    return variables


def start_lab(root, options):
    ensure_environment(root)
    # The root folder is the checkout, because notebooks link to files in assets/.
    command = [str(environment_python(root)), "-m", "jupyterlab", "--ServerApp.root_dir=" + str(root)]
    command += ["--LabApp.default_url=/lab/tree/" + FIRST_NOTEBOOK]
    # Without this, Ctrl-C asks a question and goes on when nobody answers.
    command += ["--ServerApp.answer_yes=True"]
    # The course works offline: no news, no look for updates.
    command += ["--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        # In containers one is root as a rule, and Jupyter refuses that unless told.
        command += ["--allow-root"]
    return run_program(command + options, root, environment_variables(root))


def resolve_test_path(option, caller_folder, root):
    """Return the option as an absolute test path if it names a file or folder, else None."""
    path, separator, rest = option.partition("::")
    if option.startswith("-") or not path:
        return None
    for folder in (caller_folder, root):
        if (folder / path).exists():
            return str((folder / path).resolve()) + separator + rest
    return None


def pytest_options(options, caller_folder, root):
    """Return the options for pytest: notebooks in parallel, unless the options say what or how to run.

    Paths may be relative to the folder of the caller or to the checkout.
    """
    paths = [resolve_test_path(option, caller_folder, root) for option in options]
    chosen = [path or option for path, option in zip(paths, options)]  # noqa: B905 (needs Python 3.10)
    own_workers = any(re.match(r"-n|--numprocesses|--pdb$|--trace$", option) for option in options)
    without_xdist = "no:xdist" in options or "-pno:xdist" in options
    if any(paths) or own_workers or without_xdist:
        return chosen
    # A notebook's cells must stay together, on one worker.
    return ["-n", "2", "--dist", "loadfile"] + chosen


def run_tests(root, options):
    caller_folder = pathlib.Path.cwd()
    ensure_environment(root)
    command = [str(environment_python(root)), "-m", "pytest"] + pytest_options(options, caller_folder, root)
    # Two workers on two cores: more threads would only get into each other's way.
    variables = environment_variables(root, OMP_NUM_THREADS="1")
    variables["HF_HUB_OFFLINE"] = "1"
    return run_program(command, root, variables)


def run_doctor(root, options):
    if options:
        raise CourseError("`doctor` takes no options: run `python course.py doctor`.", 2)
    python = str(environment_python(root))
    if complete_environment(root) is None:
        say("The course has not set up .venv here: these are the findings for the Python that you called.")
        python = sys.executable
    return run_program([python, "-m", "llama4lab.doctor"], root / "notebooks", environment_variables(root))


def choose_notebooks(root, numbers):
    """Return the notebooks with these numbers ("02" or "2"), all when none is given. Raises CourseError."""
    known = {path.name[:2]: path for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))}
    unknown = [number for number in numbers if number.zfill(2) not in known]
    if unknown:
        raise CourseError(
            "There is no notebook {}: take from {}.".format(", ".join(unknown), ", ".join(known) or "none yet"),
            2,
        )
    return [known[number] for number in sorted({number.zfill(2) for number in numbers} or known)]


def store_notebooks(root, numbers):
    notebooks = choose_notebooks(root, numbers)
    ensure_environment(root)
    variables = environment_variables(root)
    variables["HF_HUB_OFFLINE"] = "1"
    command = [str(environment_python(root)), "-m", "llama4lab.store"]
    return run_program(command + [str(path) for path in notebooks], root / "notebooks", variables)


COMMANDS = {"lab": start_lab, "test": run_tests, "doctor": run_doctor, "store": store_notebooks}


def usage():
    return "\n".join(line for line in __doc__.splitlines() if line.startswith("    python course.py"))


def main(arguments):
    """Run one command; return the exit code."""
    root = pathlib.Path(__file__).resolve().parent
    try:
        if sys.version_info[:2] < MINIMUM_PYTHON:
            raise CourseError(
                "This course needs Python 3.11 or newer and this is Python {}.{}: install a newer one (from "
                "python.org or your system) and call course.py with it.".format(*sys.version_info[:2])
            )
        if arguments[:1] in (["-h"], ["--help"]):
            print(__doc__.strip())
            return 0
        if not arguments:
            raise CourseError("Which command? One of these:\n" + usage(), 2)
        if arguments[0] not in COMMANDS:
            raise CourseError(f"Unknown command {arguments[0]!r}. These are known:\n{usage()}", 2)
        return COMMANDS[arguments[0]](root, arguments[1:])
    except CourseError as error:
        print(f"course.py: {error}", file=sys.stderr)
        return error.exit_code
    except Stopped as stopped:
        print(
            "course.py: the set-up was stopped; the next call starts it again.",
            file=sys.stderr,
        )
        return 128 + stopped.signal_number
    except KeyboardInterrupt:
        print("course.py: stopped.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
