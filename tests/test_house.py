"""The files around the code: cluster.yaml, ignore files, package list, pinned versions, Makefile, no local traces."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = ["data", "models", "search_spaces", "ray_jobs"]
DIRECT = [
    Requirement(line)
    for group in [PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"].values()]
    for line in group
]


def read_pins():
    """{canonical name: version} of constraints.txt; every line that is no comment must be `name==version`."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    pairs = [re.fullmatch(r"([A-Za-z0-9_.-]+)==([0-9][A-Za-z0-9.]*)", line) for line in lines]
    assert all(pairs), [line for line, pair in zip(lines, pairs, strict=True) if not pair]
    pins = {canonicalize_name(pair[1]): pair[2] for pair in pairs}
    assert len(pins) == len(lines), "a package is pinned twice"
    return pins


def git(*arguments):
    """Run git in the repository; skip the test where there is no git or no repository."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 128:
        pytest.skip(f"not a git repository: {done.stderr.strip()}")
    return done


# --- versions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("requirement", DIRECT, ids=str)
def test_every_dependency_is_pinned_within_its_bounds(requirement):
    assert requirement.specifier.contains(read_pins()[canonicalize_name(requirement.name)])


def test_installed_versions_are_the_pinned_ones():
    installed = {canonicalize_name(d.name): Version(d.version).public for d in importlib.metadata.distributions()}
    pins = read_pins()
    different = {
        name: (installed[name], pins[name]) for name in pins.keys() & installed if installed[name] != pins[name]
    }
    assert not different, "installed, pinned; `make install-dev` brings them together"


def test_pyproject_lists_every_package():
    folders = {path.parent.relative_to(ROOT) for name in PACKAGES for path in (ROOT / name).rglob("*.py")}
    assert sorted(".".join(folder.parts) for folder in folders) == sorted(PROJECT["tool"]["setuptools"]["packages"])
    assert all((ROOT / folder / "__init__.py").exists() for folder in folders)
    assert set(PROJECT["tool"]["mypy"]["packages"]) == set(PACKAGES)


# --- what git and Ray leave out ---------------------------------------------------------------------------------------

KEPT = [*(f"{name}/x.py" for name in PACKAGES), "examples/x.yaml", "pyproject.toml", "constraints.txt"]
LEFT_OUT = [
    *("runs/a/summary.json", "runs/a/bundles/lstm/model.onnx", ".venv/lib/x.py", "build/lib/data/x.py", "dist/x.whl"),
    *("foldline.egg-info/PKG-INFO", "data/__pycache__/x.pyc", ".mypy_cache/x", ".ruff_cache/x", ".pytest_cache/x"),
    *(".hypothesis/x", "benchmarks/results/sweep.json"),
]


@pytest.mark.parametrize("path", [*KEPT, "docs/x.md", "tests/x.py", ".ci/run"])
def test_git_keeps_the_sources(path):
    assert git("check-ignore", "--no-index", path).returncode == 1


@pytest.mark.parametrize("path", LEFT_OUT)
def test_git_ignores_what_programs_make(path):
    assert git("check-ignore", "--no-index", path).returncode == 0


def test_a_job_uploads_the_packages_and_little_else(tmp_path):
    from ray._private.ray_constants import get_runtime_env_default_excludes
    from ray._private.runtime_env import packaging

    tree = tmp_path / "tree"
    for path in [*KEPT, *LEFT_OUT, ".git/config", ".ci/run", "docs/picture.png"]:
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text("x")
    for name in [".gitignore", ".rayignore"]:
        shutil.copy(ROOT / name, tree)
    archive = tmp_path / "upload.zip"
    packaging._zip_files(str(tree), get_runtime_env_default_excludes(), str(archive), include_gitignore=True)
    assert sorted(ZipFile(archive).namelist()) == sorted([*KEPT, ".gitignore", ".rayignore"])


def test_ray_does_not_walk_through_big_folders():
    from ray._private.runtime_env.packaging import _get_ignore_file

    ignored = _get_ignore_file(ROOT, ".rayignore")
    assert ignored(ROOT / "runs") and ignored(ROOT / ".venv") and ignored(ROOT / ".git")
    assert not any(ignored(ROOT / name) for name in PACKAGES)


# --- cluster.yaml -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster():
    """cluster.yaml as `ray up` completes and checks it before it asks AWS anything."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(yaml.safe_load((ROOT / "cluster.yaml").read_text()))
    validate_config(config)
    return config


def test_ray_refuses_a_misspelt_cluster_key():
    # So that the fixture's validation is known to look at all.
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    config["idle_timeout_minute"] = config.pop("idle_timeout_minutes")
    with pytest.raises(Exception, match="'idle_timeout_minute' was unexpected"):
        validate_config(prepare_config(config))


def test_cluster_grows_from_nothing_to_four_workers(cluster):
    types = cluster["available_node_types"]
    assert cluster["max_workers"] == 4
    assert {name: (t["min_workers"], t["max_workers"]) for name, t in types.items()} == {
        "head": (0, 0),
        "cpu-worker": (0, 4),
        "gpu-worker": (0, 0),
    }
    assert types[cluster["head_node_type"]]["resources"]["GPU"] == 0


def test_every_node_installs_the_pinned_versions(cluster):
    commands = [*cluster["head_setup_commands"], *cluster["worker_setup_commands"]]  # Ray has merged the common ones in
    installs = [command for command in commands if "pip install" in command]
    assert len(installs) == 3  # all that is common, on the head and on a worker; and boto3, on the head
    assert all("-c ~/foldline/constraints.txt" in command for command in installs)
    assert cluster["file_mounts"]["~/foldline/constraints.txt"] == "constraints.txt"
    written = dict(re.findall(r"([\w.-]+)(?:\[[\w,]+\])?==([\w.]+)", (ROOT / "cluster.yaml").read_text()))
    assert written.items() <= read_pins().items()


def test_nodes_require_what_pyproject_requires(cluster, tmp_path):
    (tmp_path / "foldline").mkdir()
    shutil.copy(ROOT / "pyproject.toml", tmp_path / "foldline")
    (command,) = [command for command in cluster["worker_setup_commands"] if "requirements.txt" in command][:1]
    command = command.replace("~/foldline-env/bin/python", sys.executable)
    subprocess.run(["bash", "-c", command], env={**os.environ, "HOME": str(tmp_path)}, check=True)
    lines = (tmp_path / "foldline" / "requirements.txt").read_text().splitlines()
    assert lines == PROJECT["project"]["dependencies"]


def test_every_node_demands_the_token_and_hides_its_dashboard(cluster):
    starts = [cluster["head_start_ray_commands"][-1], cluster["worker_start_ray_commands"][-1]]
    for command in starts:
        before, start = command.split("ray start")
        assert re.search(r"export [^;]*RAY_AUTH_MODE=token", before)
        assert "--dashboard-host" not in start or "--dashboard-host=127.0.0.1" in start
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


def test_health_check_names_are_ones_ray_knows(cluster):
    import ray._raylet

    names = re.findall(r"RAY_(health_check_\w+)=", cluster["head_start_ray_commands"][-1])
    assert len(names) == 3
    assert all(isinstance(getattr(ray._raylet.Config, name)(), int) for name in names)


# --- Makefile ---------------------------------------------------------------------------------------------------------


def make(*arguments, folder=ROOT):
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    outer = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHON", "ARGS"}  # of the `make test` that runs this
    clean = {name: value for name, value in os.environ.items() if name not in outer}
    return subprocess.run(["make", *arguments], cwd=folder, capture_output=True, text=True, env=clean)


def test_make_alone_lists_the_targets():
    listed = re.findall(r"^  make (\S+)", make().stdout, flags=re.MULTILINE)
    assert {"help", "tune", "test", "lint", "bench", "clean"} <= set(listed)


def test_make_says_in_a_line_that_it_found_no_python(tmp_path):
    done = make("install", f"VENV={tmp_path / 'env'}", "PYTHON=/no/such/python")
    assert done.returncode == 2
    assert done.stderr.startswith("no Python 3.11 or newer with venv found at /no/such/python: install one, or name it")
    assert not (tmp_path / "env").exists()


def test_clean_removes_caches_and_keeps_runs_and_the_environment(tmp_path):
    kept = ["runs/a/__pycache__/x", ".venv/lib/__pycache__/x", "benchmarks/results/x.json", "data/x.py", "Makefile"]
    removed = ["data/__pycache__/x", "ray_jobs/a/__pycache__/x", "build/x", "foldline.egg-info/x", ".mypy_cache/x"]
    for path in [*kept, *removed]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    shutil.copy(ROOT / "Makefile", tmp_path)
    assert make("clean", folder=tmp_path).returncode == 0
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == set(kept)


# --- no local traces --------------------------------------------------------------------------------------------------

TRACES = {
    "a home directory": r"/(?:home|Users)/[\w.-]+/|(?<![\w.~-])/root[/]|[A-Za-z]:\\Users\\",
    "a package index": r"pypi\.org|pythonhosted\.org|download\.pytorch\.org|anaconda\.(?:org|com)|index-url[=\s]+http",
}


@pytest.mark.parametrize("what", TRACES)
def test_no_file_names(what):
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard").stdout.split("\0")
    found = []
    for path in (ROOT / name for name in listed if name and (ROOT / name).is_file()):
        content = path.read_bytes()
        if b"\0" not in content:
            found += [f"{path.name}: {hit}" for hit in re.findall(TRACES[what], content.decode("utf-8", "replace"))]
    assert found == []
