"""A reader's mistake is shown as one sentence, and as a traceback where a developer asks for it."""

import os
import subprocess
import sys

import pytest

PROGRAM = "from llama4lab.errors import CourseError; raise CourseError('this is wrong: do that.')"


@pytest.mark.parametrize("variable", ["", "1"])
def test_a_course_error_has_a_traceback_only_where_the_variable_asks_for_it(tmp_path, variable):
    environment = os.environ | {"COURSE_TRACEBACK": variable, "IPYTHONDIR": str(tmp_path)}
    command = [sys.executable, "-m", "IPython", "--colors=nocolor", "-c", PROGRAM]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    said = run.stdout + run.stderr
    assert "CourseError: this is wrong: do that." in said
    assert ("Traceback" in said) == bool(variable)
