"""The nbval rules on a reader's machine: notebooks of their own, torch's CUDA build, proxies."""

from importlib.machinery import ModuleSpec
from types import SimpleNamespace

import pytest

from llama4lab import course_notebooks
from tests.checking import nbval_rules, resources


def test_only_the_notebooks_of_the_course_are_checked_and_others_are_named(tmp_path, monkeypatch):
    for module in (course_notebooks, nbval_rules):
        monkeypatch.setattr(module, "NOTEBOOKS", tmp_path / "notebooks")
    own = ("02_moe_routing-Copy1.ipynb", "Untitled.ipynb", "drafts/02_moe_routing.ipynb")
    for name in ("02_moe_routing.ipynb", ".ipynb_checkpoints/02_moe_routing-checkpoint.ipynb", *own):
        (tmp_path / "notebooks" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "notebooks" / name).write_text("{}")
    assert [path.name for path in course_notebooks.course_notebooks(tmp_path / "notebooks")] == ["02_moe_routing.ipynb"]
    assert all(nbval_rules.pytest_collect_file(tmp_path / "notebooks" / name, None) is None for name in own)
    lines = []
    nbval_rules.Summary().pytest_terminal_summary(SimpleNamespace(write_line=lines.append))
    assert lines == [f"notebooks/{name} was not checked: only notebooks named NN_name.ipynb are." for name in own]


def a_process(pid, rss, command="server", children=()):
    return SimpleNamespace(
        pid=pid,
        memory_info=lambda: SimpleNamespace(rss=rss),
        cmdline=lambda: [command],
        ppid=lambda: 0,
        children=lambda recursive: children,
    )


def test_a_child_that_was_just_forked_does_not_count_twice(monkeypatch):
    monkeypatch.setattr(resources, "cuda_build_bytes", lambda: 0)
    forked, begun = a_process(1, 2**30, "kernel"), a_process(2, 2**20)
    watch = resources.MemoryWatch(a_process(0, 2**30, "kernel", [forked, begun]))
    watch.look()
    assert watch.peak == 2**30 + 2**20


@pytest.mark.parametrize(("cuda", "gib"), [("'13.0'", 0.4), ("None", 0)])
def test_what_the_cuda_build_takes_is_left_out_of_each_process(tmp_path, monkeypatch, cuda, gib):
    (tmp_path / "version.py").write_text(f"cuda = {cuda}\n")
    spec = ModuleSpec("torch", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(resources, "find_spec", lambda name: spec)
    watch = resources.MemoryWatch(a_process(0, 2**30, "kernel", [a_process(1, 2**30), a_process(2, 2**20)]))
    watch.look()
    assert watch.peak == pytest.approx(2 * (1 - gib) * 2**30 + (0 if gib else 2**20), abs=2)


def test_tests_know_neither_proxy_nor_certificate(monkeypatch):
    for name in ("HTTP_PROXY", "all_proxy", "SSL_CERT_FILE", "LLAMA4_CHECKPOINT"):
        monkeypatch.setenv(name, "a")
    plugins = SimpleNamespace(register=lambda *arguments: None)
    nbval_rules.pytest_configure(SimpleNamespace(option=SimpleNamespace(), pluginmanager=plugins))
    assert not nbval_rules.os.environ.keys() & {"HTTP_PROXY", "all_proxy", "SSL_CERT_FILE", "LLAMA4_CHECKPOINT"}
