"""Reaches the notebooks too, which a conftest.py inside tests/ would not."""

pytest_plugins = ["tests.checking.nbval_rules"]
