"""The house keeps its floors: who may import whom, who alone calls Numba, and what no file does.

A file imports from lower levels, from its own level or from its own package, and never in a circle. An import inside a
function waits until it is needed: it obeys the levels like any other but cannot close a circle. An import under
`if TYPE_CHECKING:` never runs and is free.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "minicnn"

LEVELS = [
    # 0: words, errors, integers
    {"errors", "geometry", "naming", "typing", "lookup", "arguments", "lending"},
    # 1: arrays in, arrays out
    {"kernels"},
    # 2: what layers and training are given
    {"initializers", "activations", "regularizers", "losses", "metrics", "optimizers", "datasets"},
    # 3: layers, and files as plain data
    {"layers", "saving"},
    # 4: models and all that works on them
    {
        "batches",
        "callbacks",
        "checks",
        "config",
        "differences",
        "feeding",
        "gradcheck",
        "models",
        "parameters",
        "plotting",
        "progress",
        "saving.building",  # these put plain data and models together
        "saving.conversion",
        "saving.model_io",
        "saving.training_section",
        "scores",
        "stack",
        "steps",
        "summary",
        "evaluation",
        "training",
        "utils",
    },
    # 5: models by name
    {"applications"},
    # 6: the public names, and the command line, which uses them
    {"__init__", "__main__", "cli"},
]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}

LATE = {"matplotlib", "sklearn", "pooch", "tqdm", "numba", "scipy", "threadpoolctl", "PIL", "onnx"}
"""Slow to import, or needed by few: imported in the functions that use them. So is saving, and h5py with it."""

GENERATING = ("kernels.linking", "kernels.llvm", "kernels.llvm_words", "kernels.machine_code", "kernels.vector_unit")
"""What makes machine code, or tells for which CPU, and is imported late."""

COMMAND_LINE = {"typer", "rich"}
"""What the command line alone imports."""

FILES = sorted(PACKAGE.rglob("*.py"))


def module_name(file):
    """layers/base.py as "layers.base", layers/__init__.py as "layers", the package's own __init__.py as "__init__"."""
    parts = list(file.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


MODULES = {module_name(file): file for file in FILES}


def level_of(module):
    """The level of a module: its own entry, else its package's."""
    return LEVEL[module] if module in LEVEL else LEVEL.get(module.partition(".")[0])


def is_type_checking(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports(node, in_function=False):
    """(full name, runs only when called) of every import below a node, except those for the type checker alone."""
    for child in ast.iter_child_nodes(node):
        if is_type_checking(child):
            continue
        if isinstance(child, ast.Import):
            yield from ((alias.name, in_function) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            for alias in child.names:
                yield f"{child.module}.{alias.name}", in_function
        else:
            yield from imports(
                child, in_function or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            )


def imports_of(file):
    return list(imports(ast.parse(file.read_text(), str(file))))


def own_imports(file):
    """(module of this package, runs only when called) for every import from the package."""
    for name, late in imports_of(file):
        if name == "minicnn" or name.startswith("minicnn."):
            rest = name.removeprefix("minicnn").removeprefix(".")
            while rest and rest not in MODULES:
                rest = rest.rpartition(".")[0]
            yield rest or "__init__", late


@pytest.fixture(params=FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def file(request):
    return request.param


def test_every_file_has_a_level(file):
    assert level_of(module_name(file)) is not None, f"give {module_name(file)} a level in {Path(__file__).name}"


def test_imports_go_down(file):
    module = module_name(file)
    package = module.partition(".")[0]
    up = [
        other
        for other, _ in own_imports(file)
        if level_of(other) > level_of(module) and other.partition(".")[0] != package
    ]
    assert not up, f"{module} (level {level_of(module)}) imports {up} from above"


def test_no_circles():
    """Over the imports that run at once. A package's __init__ runs before any file in it, and that is not counted."""
    graph = {m: {o for o, late in own_imports(f) if not late and o != m} for m, f in MODULES.items()}
    done, path = set(), []

    def visit(module):
        if module in done:
            return
        assert module not in path, f"a circle: {' -> '.join([*path[path.index(module) :], module])}"
        path.append(module)
        for other in sorted(graph[module]):
            visit(other)
        path.pop()
        done.add(module)

    for module in sorted(graph):
        visit(module)


def test_who_imports_numba(file):
    names = {name.partition(".")[0] for name, _ in imports_of(file)}
    assert "numba" not in names or module_name(file) in ("kernels.jit", *GENERATING)
    assert "llvmlite" not in names or module_name(file) in GENERATING


def test_slow_imports_wait_until_they_are_used(file):
    at_once = {name.partition(".")[0] for name, late in imports_of(file) if not late}
    assert not at_once & LATE or module_name(file) in GENERATING  # itself imported late


def test_the_command_line_alone_imports_its_libraries(file):
    names = {name.partition(".")[0] for name, _ in imports_of(file)}
    assert not names & COMMAND_LINE or module_name(file).partition(".")[0] == "cli"


def test_nothing_is_unpickled_or_executed(file):
    """Files are untrusted: nothing that could run what is in one is even there."""
    names = {name.partition(".")[0] for name, _ in imports_of(file)}
    if module_name(file) == "kernels.blas":
        names.discard("importlib")  # for one module of SciPy's, by a name that stands there
    assert not names & {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "importlib", "imp", "runpy"}
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"eval", "exec", "compile", "__import__"}, f"line {node.lineno}"
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert ast.unparse(node.value) == "False", f"line {node.value.lineno}"


def test_no_numpy_global_randomness(file):
    """Randomness comes from generators handed down from the model's seed."""
    tree = ast.parse(file.read_text())
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    used = {node.attr for node in attributes if ast.unparse(node.value) in ("np.random", "numpy.random")}
    assert used <= {"Generator", "SeedSequence", "default_rng"}
    assert "random" not in {name.partition(".")[0] for name, _ in imports_of(file)}


def test_files_stay_short():
    """A file is read in one sitting. Near 300 lines is the aim, 400 the most."""
    assert not {str(f.relative_to(PACKAGE)): n for f in FILES if (n := len(f.read_text().splitlines())) > 400}


def test_importing_minicnn_loads_nothing_slow():
    """Half a second is the budget, and NumPy needs a part of it."""
    code = f"import sys, minicnn; print(*sorted({LATE | COMMAND_LINE | {'h5py'}!r} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent, timeout=60
    )
    assert result.stdout.strip() == ""


def test_the_test_itself_sees_an_import_upwards(tmp_path):
    source = """
from typing import TYPE_CHECKING
import numpy as np
from minicnn import layers
from minicnn.kernels.jit import compiled
if TYPE_CHECKING:
    from minicnn.models import Sequential
def late():
    from minicnn.training import Trainer
class Inner:
    import minicnn.steps.plan
"""
    file = tmp_path / "some.py"
    file.write_text(source)
    assert sorted(own_imports(file)) == [
        ("kernels.jit", False),
        ("layers", False),
        ("steps.plan", False),
        ("training", True),
    ]
