"""What importing costs, and which part may import which."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import torchdropout

SOURCE = Path(torchdropout.__file__).parent
LAZY = ["numba", "llvmlite", "triton", "matplotlib", "pandas", "plotly", "sklearn", "typer", "rich", "scipy"]


def run(code):
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()


def test_import_loads_no_heavy_package_starts_no_thread_and_no_cuda():
    code = f"""
import sys, threading, torch
before = set(sys.modules)
import torchdropout
new = {{name.split(".")[0] for name in set(sys.modules) - before}}
print(sorted(new & set({LAZY})), threading.active_count(), torch.cuda.is_initialized())
print([name for name in sys.modules if name.startswith("torchdropout.") and name.split(".")[1] in
       ("kernels", "study", "cli", "testing", "catalog")])
"""
    assert run(code) == ["[]", "1", "False", "[]"]


def test_import_adds_less_than_a_tenth_of_a_second():
    """The least of three runs: others' work on the machine only adds."""
    code = "import time, torch; t = time.perf_counter(); import torchdropout; print(time.perf_counter() - t)"
    assert min(float(run(code)[0]) for _ in range(3)) < 0.1


def test_what_is_loaded_later_is_what_type_checkers_see_and_is_loaded():
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {node.module: tuple(alias.name for alias in node.names) for node in block.body}
    assert seen == torchdropout._LATER
    assert set(torchdropout._MODULES) < set(torchdropout.__all__) <= set(dir(torchdropout))
    loaded = run("import sys, torchdropout; print(*(name for name in sys.modules if name.startswith('torchdropout.')))")
    assert not {module for module in torchdropout._LATER if module != "torchdropout"} & set(loaded)
    assert run("import torchdropout as td; td.LSTM(1, 1); print(td.schedules.Early().until > 0)") == ["True"]
    with pytest.raises(AttributeError, match="module 'torchdropout' has no attribute 'Dropuot'"):
        torchdropout.Dropuot  # noqa: B018 - asking is what is tested


def test_the_public_names_exist():
    for name in torchdropout.__all__:
        assert getattr(torchdropout, name) is not None
    for name in torchdropout.functional.__all__:
        assert getattr(torchdropout.functional, name) is not None


def imports(path):
    """The names of our own modules that a file imports, each with whether that happens inside a function."""
    tree = ast.parse(path.read_text())
    inside = {id(node) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for node in ast.walk(f)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from ((name, id(node) in inside) for name in names if name.split(".")[0] == "torchdropout")


def own(pattern):
    return [pytest.param(path, id=str(path.relative_to(SOURCE))) for path in sorted(SOURCE.glob(pattern))]


def part(path_or_name):
    """The part of the package that a file or an imported name belongs to."""
    if isinstance(path_or_name, Path):
        return path_or_name.relative_to(SOURCE).with_suffix("").parts[0]
    return [*path_or_name.split("."), "__init__"][1]


@pytest.mark.parametrize("path", own("layers/*.py"))
def test_layers_import_ops_laws_rng_and_each_other(path):
    assert {part(name) for name, _ in imports(path)} <= {"ops", "laws", "rng", "layers"}


@pytest.mark.parametrize("path", own("recurrent/*.py"))
def test_recurrent_layers_import_layers_ops_laws_rng_and_each_other(path):
    assert {part(name) for name, _ in imports(path)} <= {"layers", "ops", "laws", "rng", "recurrent"}


@pytest.mark.parametrize("path", own("losses/*.py"))
def test_losses_import_layers_ops_laws_rng_and_each_other(path):
    assert {part(name) for name, _ in imports(path)} <= {"layers", "ops", "laws", "rng", "losses"}


@pytest.mark.parametrize("path", own("calibration/*.py"))
def test_calibration_imports_the_checks_of_layers_and_itself(path):
    assert {part(name) for name, _ in imports(path)} <= {"layers", "calibration"}


@pytest.mark.parametrize("path", own("kernels/*.py"))
def test_kernels_import_laws_rng_and_each_other(path):
    assert {part(name) for name, _ in imports(path)} <= {"laws", "rng", "kernels"}


@pytest.mark.parametrize("path", own("ops/*.py"))
def test_ops_import_kernels_laws_rng_and_each_other(path):
    assert {part(name) for name, _ in imports(path)} <= {"ops", "laws", "rng", "kernels"}


@pytest.mark.parametrize("module", ["rng", "laws"])
def test_the_ground_floor(module):
    assert {part(name) for name, _ in imports(SOURCE / f"{module}.py")} <= set()


@pytest.mark.parametrize("path", own("**/*.py"))
def test_kernels_are_imported_by_ops_alone_and_late(path):
    for name, inside in imports(path):
        if part(name) == "kernels" and part(path) != "kernels":
            assert part(path) == "ops"
            assert inside


@pytest.mark.parametrize("path", own("**/*.py"))
def test_nothing_imports_the_adapters_to_frameworks(path):
    if part(path) != "integrations":
        assert "integrations" not in {part(name) for name, _ in imports(path)}


@pytest.mark.parametrize("path", own("**/*.py"))
def test_nothing_imports_the_study_the_command_line_or_the_tests(path):
    if part(path) in ("study", "cli"):
        return
    assert {part(name) for name, _ in imports(path)}.isdisjoint({"study", "cli"})
    if part(path) != "testing":
        assert "testing" not in {part(name) for name, _ in imports(path)}
