"""The command `torchdropout`: parse, call a public function, print."""

from __future__ import annotations

import sys

_STUDY = ("typer", "rich", "sklearn", "pandas", "pyarrow", "plotly", "jinja2", "markupsafe", "scipy", "safetensors")
_EXTRA = dict.fromkeys(_STUDY, "study") | {"matplotlib": "plots"}


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
    extra = _EXTRA.get((error.name or "").partition(".")[0])
    if extra is None:
        raise error
    _refuse(f"the command line needs {error.name}: pip install 'torchdropout[{extra}]'")


def _refuse(sentence: str) -> None:
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
