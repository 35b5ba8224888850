"""Errors that a reader can cause and fix."""

import os


class CourseError(Exception):
    """One sentence: what is wrong and what to do. A notebook shows that sentence instead of a traceback.

    Where the variable COURSE_TRACEBACK is set before the kernel starts, it shows the traceback, for developers.
    """

    if not os.environ.get("COURSE_TRACEBACK"):

        def _render_traceback_(self) -> list[str]:
            # IPython calls this hook of an exception, where it has one, instead of formatting the stack.
            return [f"{type(self).__name__}: {self}"]
