"""The package `scratch` imports NumPy and itself, and a few packages late, inside the functions that need them."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from torchdropout import scratch

FILES = sorted(Path(scratch.__file__).parent.glob("*.py"))
LATE = {"matplotlib", "rich"}


def imported(path):
    """Each imported name and whether it is imported inside a function or for types only."""
    tree = ast.parse(path.read_text())
    late = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.FunctionDef) or (isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test))
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in late) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield from ((f"{node.module}.{alias.name}", id(node) in late) for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_imports_numpy_the_standard_library_and_its_own_package(path):
    for name, late in imported(path):
        root = name.split(".")[0]
        own = name.startswith("torchdropout.scratch.")
        assert own or root == "numpy" or root in sys.stdlib_module_names or (late and root in LATE), name


def test_no_file_is_missed():
    assert {"network.py", "dropout.py", "training.py"} <= {path.name for path in FILES}


def test_it_works_where_only_numpy_can_be_imported():
    """Loaded under its name without the package around it, in a process that refuses every other package."""
    code = f"""
import sys, types
package = types.ModuleType("torchdropout")
package.__path__ = [{str(FILES[0].parent.parent)!r}]
sys.modules["torchdropout"] = package
class Refuse:
    def find_spec(self, name, path=None, target=None):
        root = name.split(".")[0]
        if root in ("torch", "matplotlib", "rich", "scipy", "numba", "pandas", "sklearn"):
            raise ImportError(name + " was imported")
sys.meta_path.insert(0, Refuse())
import numpy as np
from torchdropout import scratch
X = np.array([[0.0, 1.0, 2.0, 3.0]])
parameters = scratch.model(X, np.array([[0, 0, 1, 1]]), [1, 4, 1], 0.3, 500, 0.01, 0.9, rng=0)
print(scratch.predict(X, parameters).astype(int).tolist())
"""
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "[[0, 0, 1, 1]]"
