"""Drift: a run of pytest becomes a table by file, and failures of one cause are counted together."""

from llama4lab.drift import Result, cause_of, describe_results, describe_versions, newest_requirements, read_results

ATTRIBUTE = "AttributeError: 'MoeCausalLMOutputWithPast' object has no attribute 'image_outputs'"
REPORT = f"""<testsuites><testsuite>
<testcase file="notebooks/13_images.ipynb" name="Cell 1"/>
<testcase file="notebooks/13_images.ipynb" name="Cell 2"><failure
  message="13_images.ipynb, cell 2: Cell execution caused an exception">
{ATTRIBUTE}

in the cell
    raise ValueError: no
</failure></testcase>
<testcase file="notebooks/13_images.ipynb" name="Cell 3"><skipped message="cell 2 ended this notebook"/></testcase>
<testcase file="tests/lab/test_launch.py" name="test_a"><error message="at setup">E   {ATTRIBUTE}</error></testcase>
<testcase file="tests/lab/test_tables.py" name="test_b"/>
</testsuite></testsuites>"""


def test_failures_with_one_exception_are_one_cause(tmp_path):
    (tmp_path / "report.xml").write_text(REPORT)
    results = read_results(tmp_path / "report.xml")
    assert [result.verdict for result in results] == ["passed", "failed", "skipped", "failed", "passed"]
    _, images, launch, unchanged, cause, where = describe_results(results).splitlines()
    assert images.split() == ["notebooks/13_images.ipynb", "1", "1", "1"]
    assert launch.split() == ["tests/lab/test_launch.py", "0", "1", "0"]
    assert unchanged == "1 of 3 files: nothing differs"
    assert cause == f"2 x {ATTRIBUTE}"
    assert where.strip() == "13_images 1, test_launch 1"


def test_outputs_that_differ_are_one_cause_whatever_the_cell():
    assert cause_of("a.ipynb, cell 7: Cell outputs differ\n-1\n+2") == "Cell outputs differ"
    assert cause_of("a.ipynb: took 61.2 s, over its budget of 60 s.") == "took N s, over its budget of N s."
    assert describe_results([Result("a", "passed")]).splitlines()[1:] == ["1 of 1 files: nothing differs"]


def test_the_newest_releases_are_asked_for_and_named_where_they_differ():
    assert newest_requirements(["--editable .", "torch==2.13.0"]) == ["--editable .", "torch"]
    pins = {"torch": "2.13.0", "numpy": "2.4.6"}
    assert describe_versions(pins, {"torch": "2.13.0+cpu", "numpy": "3.0"}).split() == ["numpy", "2.4.6", "->", "3.0"]
