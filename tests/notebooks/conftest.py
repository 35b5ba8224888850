"""What every file of tests about a notebook needs."""

import pytest

from llama4lab.notebook_functions import functions_of


@pytest.fixture(scope="module")
def notebook(request) -> dict:
    """The functions of the notebook that the file of tests is named after, by their names."""
    return functions_of(request.module.__name__.rpartition(".test_")[2])
