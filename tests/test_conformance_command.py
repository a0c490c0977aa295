"""`torchdropout conformance`: the table, one method in full, failures, names."""

import sys

import pytest

import torchdropout as td
from torchdropout import catalog, cli
from torchdropout.testing import CHECKS


@pytest.fixture
def run(monkeypatch, capsys):
    def with_words(*words):
        monkeypatch.setattr(sys, "argv", ["torchdropout", "conformance", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return with_words


class Unscaled(td.Dropout):
    """Forgets to scale."""

    def forward(self, x):
        return super().forward(x) * 0.75 if self.training else x


def test_the_table_has_a_mark_for_every_check_of_every_method(run, monkeypatch):
    monkeypatch.setattr(catalog, "names", lambda: ["gaussian", "word-dropout"])
    code, out, errors = run()
    assert code == 0
    names = ("gaussian", "word-dropout")
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.strip().startswith(names)}
    assert {name: len(marks) for name, (marks, *_) in rows.items()} == dict.fromkeys(names, len(CHECKS))
    for marks, *counts in rows.values():
        assert [marks.count(mark) for mark in "+X–"] == [int(count) for count in counts]
    assert [name for name in CHECKS if f" {name}" not in out] == []
    total = [sum(int(counts[i]) for _, *counts in rows.values()) for i in range(3)]
    assert out.splitlines()[-1] == f"2 methods: {total[0]} pass, 0 fail, {total[2]} n/a"
    assert [line.split()[:2] for line in errors.splitlines()] == [["1/2", "gaussian:"], ["2/2", "word-dropout:"]]
    assert max(map(len, out.splitlines())) <= 80


def test_one_method_is_shown_in_full(run):
    code, out, _ = run("cutout")
    assert code == 0
    words = " ".join(out.split())
    assert [name for name in CHECKS if f" {name} " not in words] == []
    assert "divergence – no divergence declared" in words
    assert "eval pass Eval mode draws nothing" in words
    assert "1 method: " in out


def test_a_failure_ends_with_1_and_says_what_failed(run, monkeypatch):
    monkeypatch.setattr(td, "Dropout", Unscaled)
    monkeypatch.setattr(catalog, "names", lambda: ["dropout"])
    code, out, _ = run()
    assert code == 1
    assert "dropout, statistics: " in out
    code, out, _ = run("dropout")
    assert code == 1
    assert "statistics fail " in " ".join(out.split())


def test_an_unknown_method_is_refused_with_the_nearest(run):
    code, out, errors = run("gausian")
    assert (code, out) == (2, "")
    assert errors.startswith("error: conformance: no method is called 'gausian'. Did you mean 'gaussian'?")
    assert errors.count("\n") == 1
