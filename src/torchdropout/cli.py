"""The command `torchdropout`: parse, call a public function, print."""

from __future__ import annotations

import sys

_NEEDED = ("typer", "rich", "sklearn", "pandas", "pyarrow", "plotly", "jinja2", "markupsafe", "scipy", "safetensors")


def main() -> None:
    """Run the command line; errors of the user's end with 2 and one sentence."""
    try:
        from torchdropout.study.commands import app  # noqa: PLC0415 - the study extra may be missing
        from torchdropout.study.errors import StudyError  # noqa: PLC0415
    except ModuleNotFoundError as error:
        _refuse_without_extra(error)
    try:
        app(prog_name="torchdropout")
    except StudyError as error:
        _refuse(str(error))
    except ModuleNotFoundError as error:
        _refuse_without_extra(error)


def _refuse_without_extra(error: ModuleNotFoundError) -> None:
    if error.name is None or error.name.partition(".")[0] not in _NEEDED:
        raise error
    _refuse(f"the command line needs {error.name}: pip install 'torchdropout[study]'")


def _refuse(sentence: str) -> None:
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
