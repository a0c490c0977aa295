"""The one exception of a study that is about what the user gave."""

from __future__ import annotations


class StudyError(ValueError):
    """A setting or a file cannot be used; the message is one sentence that says which, the rule, and what was found.

    The command line prints it after `error:` and exits with 2. Every other exception is a bug and keeps its traceback.
    """
