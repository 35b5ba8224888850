"""Reaches the notebooks too, which a conftest.py inside tests/ would not."""

pytest_plugins = ["tests.nbval_rules"]
