"""The graders of the exercises, one module a notebook."""
