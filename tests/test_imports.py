"""Imports go one way, data <- models <- search_spaces <- ray_jobs, and no script hides a package."""

import ast
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

DATA = {"data", "numpy", "pandas", "pyarrow"}
MODELS = DATA | {"models", "torch", "onnx", "onnxruntime", "scipy", "sklearn", "lightgbm", "xgboost"}
MAY_IMPORT = {
    "data": DATA,
    "models": MODELS,
    "search_spaces": {"search_spaces", "models", "data", "optuna.distributions"},
    "ray_jobs": MODELS
    | {"ray_jobs", "search_spaces", "ray", "hyperopt", "optuna", "plotly", "pydantic", "rich", "sqlalchemy", "yaml"},
}
SCRIPT_FOLDERS = ["ray_jobs", "benchmarks"]


def sources(folder):
    return sorted((ROOT / folder).rglob("*.py"))


def dotted(path):
    """data/load.py -> "data.load", data/__init__.py -> "data"."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path, source=None):
    """Yield (line, dotted name) of every import in a file, at any depth; `from a import b` yields "a.b"."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8") if source is None else source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            inside = package[: len(package) - node.level + 1] if node.level else ()
            for alias in node.names:
                yield node.lineno, ".".join([*inside, *filter(None, [node.module]), alias.name])


def is_allowed(name, allowed):
    """True for the standard library, and for a name that is, or lies in, one of `allowed`."""
    return name.split(".")[0] in sys.stdlib_module_names or any(f"{name}.".startswith(f"{root}.") for root in allowed)


def run(code):
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_folder_imports_only_what_lies_below_it(folder):
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources(folder)
        for line, name in imported(path)
        if not is_allowed(name, MAY_IMPORT[folder])
    ]
    assert not wrong, f"{folder}/ may import the standard library and {sorted(MAY_IMPORT[folder])}"


@pytest.mark.parametrize(
    ("folder", "line", "allowed"),
    [
        ("data", "import numpy.typing", True),
        ("data", "from data.errors import InputError", True),
        ("data", "from .errors import InputError", True),
        ("data", "import pandas_extras", False),
        ("data", "def f():\n    import torch", False),
        ("data", "from ..models import lstm", False),
        ("search_spaces", "from optuna.distributions import IntDistribution", True),
        ("search_spaces", "from optuna import distributions", True),
        ("search_spaces", "from optuna import create_study", False),
        ("search_spaces", "import optuna", False),
        ("models", "from ray import tune", False),
    ],
)
def test_the_import_rule_catches_what_it_should(folder, line, allowed):
    names = [name for _, name in imported(ROOT / folder / "x.py", line)]
    assert [is_allowed(name, MAY_IMPORT[folder]) for name in names] == [allowed]


@pytest.mark.parametrize("folder", SCRIPT_FOLDERS)
def test_no_script_hides_a_package(folder):
    # `python ray_jobs/x.py` puts ray_jobs/ first on sys.path: a file there would be imported for a package of its name.
    here = {path.stem for path in (ROOT / folder).iterdir() if path.suffix == ".py" or path.is_dir()}
    packages = set(sys.stdlib_module_names) | set(importlib.metadata.packages_distributions()) | set(MAY_IMPORT)
    assert not (here - {"__init__", "__pycache__"}) & packages


@pytest.mark.parametrize(
    ("folder", "absent"),
    [("data", {"torch", "ray", "optuna"}), ("models", {"ray", "optuna"}), ("search_spaces", {"ray"})],
)
def test_every_module_works_without_loading_what_lies_above(folder, absent):
    modules = [dotted(path) for path in sources(folder)]
    done = run(f"import sys\nfor name in {modules}: __import__(name)\nprint(*sorted({absent} & set(sys.modules)))")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [], f"importing {folder}/ loaded {done.stdout}"


def test_the_predictor_works_without_torch_and_ray():
    done = run("import sys; sys.modules['torch'] = sys.modules['ray'] = None; import models.predictor")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("folder", "kind"), [("", "Model"), ("tabular", "Learner")])
def test_each_family_has_a_model_and_a_search_space(folder, kind):
    def top_level_classes(path):
        return {n.name for n in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(n, ast.ClassDef)}

    def files(package):
        return [path for path in (ROOT / package / folder).glob("*.py") if not path.stem.startswith("_")]

    models = {path.stem for path in files("models") if {"Config", kind} <= top_level_classes(path)}
    spaces = {path.stem for path in files("search_spaces")}
    assert models == spaces != set()


@pytest.mark.parametrize("folder", [*MAY_IMPORT, "tests", "benchmarks"])
def test_every_module_says_what_it_is_for(folder):
    # An empty __init__.py has nothing to say.
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sources(folder)}
    silent = [str(path.relative_to(ROOT)) for path, tree in trees.items() if tree.body and not ast.get_docstring(tree)]
    assert silent == []
