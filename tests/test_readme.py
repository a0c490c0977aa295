"""The README says what is so."""

import re
from pathlib import Path

import pytest
import torch

import torchdropout as td
from torchdropout import catalog

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_of_methods_is_the_catalogues():
    assert catalog.as_markdown() in README


def test_the_example_runs_and_is_ten_lines():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    names: dict[str, object] = {}
    exec(code, names)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    assert ((names["y"] != 0) == names["mask"]).all()


@pytest.mark.parametrize("command", re.findall(r"^make (\w+)", README, re.M))
def test_make_knows_the_command(command):
    assert re.search(rf"^{command}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#:]+)\)", README))
def test_local_links_lead_somewhere(link):
    assert (ROOT / link).exists()


def test_the_catalogue_names_public_things():
    for row in catalog.METHODS:
        assert row.layer in td.__all__
        assert row.function == "" if row.is_kind else row.function in td.functional.__all__


SNIPPETS = [
    (page.name, code)
    for page in sorted((ROOT / "docs").glob("*.md"))
    for code in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
]


@pytest.mark.parametrize(("page", "code"), SNIPPETS, ids=[page for page, _ in SNIPPETS])
def test_code_of_the_docs_runs(page, code):
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), td.Dropout(0.5), torch.nn.Linear(8, 3))
    names = {"torch": torch, "nn": torch.nn, "F": torch.nn.functional, "td": td, "model": model}
    exec(compile(code, page, "exec"), names | {"x": torch.randn(5, 4), "y": torch.tensor([0, 1, 2, 0, 1])})
