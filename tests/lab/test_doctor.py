"""The doctor: each finding from planted facts, the whole report from this machine and a bare Python."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from llama4lab import assets, doctor
from llama4lab.doctor import GIB, Line

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "hf_" + "planted" * 5


def run_doctor(*options: str, **variables: str) -> subprocess.CompletedProcess:
    """Run the doctor as a program, with `options` for the interpreter."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "LLAMA4_"))}
    command = [sys.executable, *options, "-m", "llama4lab.doctor"]
    environment = {**kept, **variables}
    return subprocess.run(command, cwd=ROOT / "notebooks", env=environment, capture_output=True, text=True)


def test_report_on_this_machine(monkeypatch):
    monkeypatch.delenv("LLAMA4_CHECKPOINT", raising=False)
    lines = doctor.report()
    topics = [line.topic for line in lines]
    for topic in ("Python", "packages", "cores", "memory", "disk", "assets", "GPU", "Hugging Face token"):
        assert topic in topics
    bad = [line for line in lines if line.verdict != "ok"]
    assert all(line.remedy for line in bad)
    run = run_doctor()
    assert run.returncode == int(any("FAIL" == line.verdict for line in lines))
    assert len(run.stdout.splitlines()) == len(lines) and run.stderr == ""


def test_stable_verdicts_name_nothing_of_the_machine():
    assert list(doctor.stable_verdicts(doctor.report())) == ["Python", "packages", "assets"]


def test_worst_verdict_of_a_topic_counts():
    lines = [
        Line("ok", "a", "", stable=True),
        Line("FAIL", "a", "", stable=True),
        Line("warn", "a", "", stable=True),
    ]
    assert doctor.stable_verdicts([*lines, Line("FAIL", "b", "")]) == {"a": "FAIL"}


def test_bare_python_gets_a_report_too():
    run = run_doctor("-S")  # without site-packages: no package is installed
    assert run.returncode == 1 and run.stderr == ""
    assert re.search(r"FAIL  packages: \d\d are missing as a whole or in part \(torch, torchvision, transf", run.stdout)
    assert "python course.py lab" in run.stdout


def test_line_as_text():
    assert str(Line("ok", "cores", "2")) == "ok    cores: 2"
    assert str(Line("FAIL", "disk", "1 GB free", "free 3 GB")) == "FAIL  disk: 1 GB free -> free 3 GB"


def test_python():
    lines = [doctor.check_python(version, (3, 11), (3, 14)) for version in ((3, 11, 0), (3, 14, 2))]
    assert [line.verdict for line in lines] == ["ok", "ok"]
    lines = [doctor.check_python(version, (3, 11), (3, 14)) for version in ((3, 10, 9), (3, 15, 0))]
    assert [line.finding for line in lines] == ["3.10.9 is too old", "3.15.0 is too new"]
    assert {(line.verdict, line.remedy) for line in lines} == {("FAIL", "install Python 3.11 to 3.14")}


def test_packages():
    pins = {"torch": "2.13.0", "PyYAML": "6.0.3", "ruff": "0.17.6"}
    installed = {"torch": "2.13.0+cpu", "pyyaml": "6.0.3", "ruff": "0.17.6"}

    def verdicts(missing=(), **changes):
        lines = doctor.check_packages(pins, {**installed, **changes}, list(missing))
        return [(line.verdict, line.finding.split(";")[0]) for line in lines]

    assert verdicts() == [("ok", "3 packages match their pins")]
    assert verdicts(pyyaml="5.0") == [("warn", "PyYAML is 5.0, its pin 6.0.3")]
    assert verdicts(["pluggy"], torch="2.12.0") == [
        ("FAIL", "1 is missing as a whole or in part (pluggy)"),
        ("warn", "torch is 2.12.0, its pin 2.13.0"),
    ]


def test_pins_are_told_from_options():
    assert doctor.read_pins(["--extra-index-url https://a/b==c", "torch==2.13.0"]) == {"torch": "2.13.0"}


@pytest.mark.parametrize(
    ("differ", "mended", "verdict"),
    [(False, False, "ok"), (False, True, "ok"), (True, True, "ok"), (True, False, "FAIL")],
)
def test_torchvision(monkeypatch, differ, mended, verdict):
    monkeypatch.setattr(doctor.torchvision_pair, "installed_builds_differ", lambda: differ)
    monkeypatch.setattr(doctor.torchvision_pair, "is_installed", lambda: mended)
    assert doctor.check_torchvision_pair().verdict == verdict


def test_cores():
    assert [doctor.check_cores(n).verdict for n in (1, 2, 64)] == ["warn", "ok", "ok"]
    assert 1 <= doctor.count_cores() <= os.cpu_count()


def test_memory(tmp_path):
    sizes = (None, 1.9 * GIB, 3 * GIB, 3.8 * GIB, 64 * GIB)
    assert [doctor.check_memory(size).verdict for size in sizes] == ["ok", "FAIL", "warn", "ok", "ok"]
    limit = tmp_path / "memory.max"
    limit.write_text("12345678\n")
    assert doctor.measure_memory(limit) == 12345678
    limit.write_text("max\n")
    assert doctor.measure_memory(limit) == doctor.measure_memory(tmp_path / "none") > 12345678


def test_disk():
    assert doctor.check_disk(free=10**9, needed=2.5e9).verdict == "FAIL"
    assert doctor.check_disk(free=10**10, needed=2.5e9).verdict == "ok"


def test_assets(tmp_path):
    assert [line.verdict for line in doctor.check_assets(tmp_path)] == ["FAIL"]
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text("{}")
    assets.write_manifest(tmp_path)
    assert [str(line) for line in doctor.check_assets(tmp_path)] == ["ok    assets: 2 files verified by sha256"]
    (tmp_path / "a.json").write_text("[]")
    (tmp_path / "b.json").unlink()
    (tmp_path / "c.json").write_text("{}")
    lines = doctor.check_assets(tmp_path)
    assert [line.verdict for line in lines] == ["FAIL", "FAIL", "warn"]
    assert lines[1].finding == "assets/b.json is missing"
    assert lines[1].remedy == "restore it with `git checkout -- assets/b.json`"


@pytest.mark.parametrize(
    ("script", "names"),
    [
        ("echo 'NVIDIA H200'; echo 'NVIDIA H200'", ["NVIDIA H200"] * 2),
        ("echo broken; exit 9", []),
        (None, []),
    ],
)
def test_gpu(tmp_path, monkeypatch, script, names):
    if script is not None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor.find_gpus() == names
    assert doctor.check_gpu(names).verdict == "ok"


def test_token_is_found_and_never_told(tmp_path):
    assert doctor.find_token({}, tmp_path) is None
    assert doctor.find_token({"HF_TOKEN": " "}, tmp_path) is None
    places = {doctor.find_token({name: TOKEN}, tmp_path) for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")}
    assert places == {"in the variable HF_TOKEN", "in the variable HUGGING_FACE_HUB_TOKEN"}
    token_file = tmp_path / ".cache" / "huggingface" / "token"
    token_file.parent.mkdir(parents=True)
    token_file.write_text(TOKEN)
    cases = [
        ({}, tmp_path),
        ({"XDG_CACHE_HOME": str(tmp_path / ".cache")}, Path("/nowhere")),
        ({"HF_HOME": str(token_file.parent)}, Path("/nowhere")),
        ({"HF_TOKEN_PATH": str(token_file)}, Path("/nowhere")),
    ]
    assert {doctor.find_token(*case) for case in cases} == {"in the token file"}
    for variables in ({"HF_TOKEN": TOKEN}, {"HF_HOME": str(token_file.parent)}):
        run = run_doctor(**variables)
        assert "Hugging Face token: present" in run.stdout
        assert "planted" not in run.stdout + run.stderr


def test_checkpoint(tmp_path):
    (tmp_path / "scout-proxy").mkdir()
    (tmp_path / "scout-proxy" / "config.json").write_text("{}")
    (tmp_path / "empty").mkdir()

    def verdict(choice, has_token=False):
        return doctor.check_checkpoint(choice, tmp_path, has_token).verdict

    assert verdict("") == verdict("scout-proxy") == verdict(str(tmp_path / "scout-proxy")) == "ok"
    assert verdict("scout-poxy") == verdict(str(tmp_path / "empty")) == "FAIL"
    assert verdict("meta-llama/Llama-4-Scout-17B-16E-Instruct") == "warn"
    assert verdict("meta-llama/Llama-4-Scout-17B-16E-Instruct", has_token=True) == "ok"
    run = run_doctor(LLAMA4_CHECKPOINT="scout-poxy")
    assert run.returncode == 1 and "FAIL  LLAMA4_CHECKPOINT: scout-poxy is no proxy" in run.stdout
