"""Errors that a reader can cause and mend."""


class CourseError(Exception):
    """One sentence: what is wrong and what to do. A notebook shows that sentence instead of a traceback."""

    def _render_traceback_(self) -> list[str]:
        # IPython calls this hook of an exception instead of formatting the stack.
        return [f"{type(self).__name__}: {self}"]
