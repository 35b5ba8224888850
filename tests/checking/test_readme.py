"""The README and the map of notebook 00 say what is there: files, commands, limits, the score and the routing."""

import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from PIL import Image

import readme_figure
from llama4lab.assets import read_json
from llama4lab.scoreboard import OUTCOMES, article_claims, score
from llama4lab.store import read_notebook
from tests.checking.nbval_rules import BUDGET
from tests.checking.stored_notebooks import NOTEBOOKS, ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
FIRST_SCREEN = README.partition("\n## ")[0]
ROW = re.compile(
    r"^\| (?:\[(?P<linked>\d\d) [^\]]+\]\((?P<target>[^)]+)\)|(?P<bare>\d\d) [^|]+?) *\|(?P<rest>.*)\|$", re.M
)
CHECKED_TOKENS = 0.95  # the share that must still be routed as drawn; near ties may differ between machines


def map_rows(markdown: str) -> dict[str, re.Match]:
    """The rows of a course map by number of notebook."""
    return {row["linked"] or row["bare"]: row for row in ROW.finditer(markdown)}


def title_cell(path: Path) -> str:
    return read_notebook(path).cells[0].source


def stated(title: str) -> list[float]:
    """Minutes to read, seconds and GiB that a title cell states."""
    minutes = re.search(r"\b(\d+) minutes\b", title)
    return [float(minutes[1]), *map(float, BUDGET.search(title).groups())]


def cells_of(row: re.Match) -> list[str]:
    return [cell.strip() for cell in row["rest"].split("|")]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_map_of_the_readme_gives_question_minutes_and_limits_of_each_notebook(path):
    row = map_rows(README)[path.name[:2]]
    question, *figures = cells_of(row)
    assert row["target"] == f"notebooks/{path.name}"
    assert title_cell(path).startswith(f"# {path.name[:2]} · {question}\n")
    assert [float(figure) for figure in figures] == stated(title_cell(path))


def test_the_map_shows_the_notebooks_that_exist_and_no_others():
    assert sorted(map_rows(README)) == [path.name[:2] for path in NOTEBOOKS]


def test_map_of_notebook_00_is_that_of_the_readme():
    cells = read_notebook(ROOT / "notebooks" / "00_start_here.ipynb").cells
    text = next(cell.source for cell in cells if re.match(r"## \d+\. The map", cell.source))
    here, there = map_rows(text), map_rows(README)
    assert here.keys() == there.keys()
    for number in here:
        assert cells_of(here[number])[0] == cells_of(there[number])[0]
        linked = there[number]["target"] if number != "00" else None  # the map stands in 00 itself
        assert here[number]["target"] == (linked and linked.removeprefix("notebooks/"))
    assert sum(row["target"] is not None for row in here.values()) == len(NOTEBOOKS) - 1


def test_commands_that_the_readme_names_exist(load_course):
    named = set(re.findall(r"python course\.py (\w+)", README))
    assert named == set(load_course.COMMANDS)


@pytest.fixture
def load_course(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    import course

    return course


def test_the_score_that_the_readme_states_is_that_of_the_ledger():
    assert score(article_claims()) in FIRST_SCREEN
    counts = Counter(entry["outcome"] for entry in article_claims())
    assert "| " + " | ".join(f"{outcome}: {counts[outcome]}" for outcome in OUTCOMES) + " |" in FIRST_SCREEN


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_first_screen_links_every_notebook(path):
    assert re.search(rf"\[{path.name[:2]} [^\]]+\]\(notebooks/{path.name}\)", FIRST_SCREEN)


def test_what_the_readme_shows_of_the_file_is_so():
    command, printed = re.search(r"\$ \.venv/bin/python (notebooks/llama4\.py .+)\n(.+)\n```", FIRST_SCREEN).groups()
    run = subprocess.run([sys.executable, *shlex.split(command)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == printed
    ratio = read_json("measurements/llama4_file.json")["proxies"]["scout-proxy"]["prompt_s"]["ratio"]
    assert f"[{ratio:.0f} times as fast]" in FIRST_SCREEN
    lines = len((ROOT / "notebooks" / "llama4.py").read_text(encoding="utf-8").splitlines())
    assert f"is {lines} lines" in FIRST_SCREEN


def test_ci_runs_the_command_of_the_readme():
    assert re.search(r"^\s*(exec )?python3? course\.py test\b", (ROOT / ".ci" / "run").read_text(), re.M)


def test_conda_lines_name_the_environment():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert f"conda activate {environment['name']}`" in README
    assert "conda env create -f environment.yml" in README


def test_paths_that_the_readme_names_exist():
    paths = re.findall(r"`((?:notebooks|assets|tests)/[\w./-]+)`", README)
    existing = [name for name in paths if not re.search("NN|SUBJECT", name)]
    assert len(existing) >= 4
    assert not [name for name in existing if not (ROOT / name).exists()]


def test_limits_that_the_readme_states_are_those_of_the_code(load_course):
    assert f"{load_course.REQUIRED_FREE_GB:g} GB of free disk" in README
    assert f"into `.venv`, {load_course.VENV_GB:g} GB" in README
    assert f"takes {load_course.CUDA_VENV_GB:g} GB, and {load_course.CUDA_REQUIRED_FREE_GB:g} GB must be free" in README
    assert "Python {}.{} to {}.{}".format(*load_course.MINIMUM_PYTHON, *load_course.MAXIMUM_PYTHON) in README


def test_license_is_apache_2():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert text.lstrip().startswith("Apache License\n                           Version 2.0, January 2004")
    assert "END OF TERMS AND CONDITIONS" in text
    for words in ("Apache-2.0", "CC BY 4.0", "not affiliated with Meta"):
        assert words in README


# ---- the figure of routing -------------------------------------------------------------------------------------


def same_routing(drawn: str, now: str) -> bool:
    """Whether two routings, as `routing_as_text` writes them, have the same tokens and nearly the same experts."""
    before, after = drawn.splitlines(), now.splitlines()
    if [line.rpartition(" ")[0] for line in before] != [line.rpartition(" ")[0] for line in after]:
        return False
    return sum(a == b for a, b in zip(before, after, strict=True)) >= CHECKED_TOKENS * len(before)


def test_figure_of_the_readme_shows_the_routing_of_the_stored_proxy():
    assert f"](assets/figures/{readme_figure.PICTURE.name})" in README
    with Image.open(readme_figure.PICTURE) as picture:
        drawn = picture.text["Description"]
    now = readme_figure.routing_as_text(*readme_figure.route_sentence())
    assert same_routing(drawn, now), "the picture is out of date: run python assets/recipes/readme_figure.py"


def test_another_routing_is_noticed():
    tokens = [f" token{number}" for number in range(40)]
    drawn = readme_figure.routing_as_text(tokens, [number % 16 for number in range(40)])
    one_off = readme_figure.routing_as_text(tokens, [5, *(number % 16 for number in range(1, 40))])
    assert same_routing(drawn, one_off)
    assert not same_routing(drawn, readme_figure.routing_as_text(tokens, [(n + n // 10) % 16 for n in range(40)]))
    assert not same_routing(drawn, readme_figure.routing_as_text(tokens[:-1] + [" x"], [n % 16 for n in range(40)]))


def test_figure_script_says_in_one_sentence_what_is_wrong(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(readme_figure, "PICTURE", tmp_path / "routing.png")
    monkeypatch.setattr("llama4lab.checkpoints.MODELS", tmp_path)
    assert readme_figure.main() == 1
    printed = capsys.readouterr()
    assert "scout-proxy" in printed.err and len(printed.err.splitlines()) == 1
    assert not printed.out and not list(tmp_path.iterdir())


def test_figure_script_writes_the_picture_and_its_routing(monkeypatch, tmp_path):
    monkeypatch.setattr(readme_figure, "PICTURE", tmp_path / "routing.png")
    monkeypatch.setattr(readme_figure, "route_sentence", lambda: (["One", " two", "\n"], [3, 0, 15]))
    assert readme_figure.main() == 0
    assert [path.name for path in tmp_path.iterdir()] == ["routing.png"]
    with Image.open(tmp_path / "routing.png") as picture:
        assert picture.text["Description"] == "'One' 3\n' two' 0\n'\\n' 15"
        assert picture.width == 1200
