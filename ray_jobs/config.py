"""The configuration of a run: one YAML file, or the same keys as flags; a flag wins over the file, the file over the
defaults.

    python ray_jobs/tune_lstm.py --config my.yaml --trials 50 --search.scheduler none

Everything is checked before anything starts; what is wrong is said in one line (`InputError`).
"""

from __future__ import annotations

import argparse
import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from data.errors import InputError, nearest
from ray_jobs.settings import Config, Features

SHORT = {
    "--data": "data.path",
    "--sample": "data.sample",
    "--time": "data.time",
    "--series": "data.series",
    "--target": "data.targets",
    "--lookback": "window.lookback",
    "--horizon": "window.horizon",
    "--folds": "validation.folds",
    "--trials": "search.trials",
    "--max-epochs": "search.max_epochs",
    "--time-budget": "search.time_budget",
    "--seed": "search.seed",
}


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


_SECTIONS = [name for name, info in Config.model_fields.items() if _is_section(info.annotation)]


def parse(
    arguments: Sequence[str],
    *,
    prog: str,
    description: str,
    base: Mapping[str, Any] | None = None,
    resumable: bool = False,
    own: Mapping[str, str] = MappingProxyType({}),
) -> Config:
    """Flags, and the file that `--config` names, as a checked configuration; `base`, nested keys, for all the others.

    `own` are flags of the script (name -> help) that `--help` lists and that are left to it.
    Raises InputError (one line) for what is wrong; `--help` prints and exits 0, as argparse does.
    """
    keys = dict(_leaves(Config))
    parser = _Parser(prog=prog, description=description, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--config", metavar="FILE", help="a YAML file with the same keys")
    if resumable:
        parser.add_argument("--resume", action="store_true", help="go on with the run of that name where it stands")
    for flag, text in own.items():
        parser.add_argument(flag, metavar="X", help=text)
    by_key = {key: short for short, key in SHORT.items()}
    for key, text in keys.items():
        names = [by_key[key]] if key in by_key else []
        parser.add_argument(*names, f"--{key}", dest=key, metavar="X", help=text.replace("%", "%%"))
    given = vars(parser.parse_args(arguments))
    for flag in ("--resume", *own):  # the caller's business
        given.pop(flag.removeprefix("--"), None)
    merged = copy.deepcopy(dict(base or {}))
    for key, value in _flat(read_yaml(Path(given.pop("config")), "--config") if "config" in given else {}):
        _put(merged, key, value)
    for key, text in given.items():
        _put(merged, key, _flag_value(key, text))
    for one, other in (("path", "sample"), ("sample", "path")):  # a table of the user's takes the place of a file's
        if f"data.{one}" in given and f"data.{other}" not in given and isinstance(merged["data"], dict):
            merged["data"].pop(other, None)
    return check(merged)


def check(tree: dict[str, Any]) -> Config:
    """A nested mapping as a configuration; InputError names the key, the rule and the value."""
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        raise InputError(_explain(error)) from None
    if config.data.path and config.data.sample:
        raise InputError(f"data.path={config.data.path!r} and data.sample={config.data.sample!r} exclude each other")
    return config


def to_yaml(config: Config) -> str:
    """The complete configuration; `--config` reads it back to the same one."""
    return yaml.safe_dump(config.model_dump(), sort_keys=False, allow_unicode=True)


def read_yaml(file: Path, flag: str) -> dict[str, Any]:
    """A YAML file that holds a mapping; InputError names the flag and the file for anything else."""
    try:
        tree = yaml.load(file.read_text(encoding="utf8"), Loader=_Loader)  # a SafeLoader
    except FileNotFoundError:
        raise InputError(f"{flag} {file}: there is no such file") from None
    except InputError as error:
        raise InputError(f"{flag} {file}: {error}") from None
    except Exception as error:  # whatever an odd tag or key makes the parser raise
        raise InputError(f"{flag} {file}: not readable as YAML: {' '.join(str(error).split())}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise InputError(f"{flag} {file}: the file must be a mapping, got {type(tree).__name__}")
    for key in [*tree, *(inner for value in tree.values() if isinstance(value, dict) for inner in value)]:
        if not isinstance(key, str):
            raise InputError(f"{flag} {file}: the key {key!r} is no text; put it in quotes or correct it")
    return tree


def differences(one: Config, other: Config) -> Iterator[tuple[str, Any, Any]]:
    """(key, value, other value) of every setting that differs."""
    values = dict(_flat(other.model_dump()))
    for key, value in _flat(one.model_dump()):
        if value != values[key]:
            yield key, value, values[key]


def check_kind(config: Config, keys: tuple[str, ...], theirs: str, ours: str) -> None:
    """InputError for a setting that begins with one of `keys`, which are for data of another kind, and is not usual."""
    for key, value, usual in differences(config, Config()):
        if key.startswith(keys):
            raise InputError(f"{key}={value!r} is for {theirs}, and {ours} are searched; leave it at {usual!r}")


def settings(config: Config) -> Iterator[tuple[str, Any]]:
    """(key, value) of every setting, such as ("search.trials", 20)."""
    yield from _flat(config.model_dump())


def _flat(tree: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for section, content in tree.items():
        if isinstance(content, dict) and section in _SECTIONS:
            yield from ((f"{section}.{name}", value) for name, value in content.items())
        else:
            yield section, content


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        found = re.search(r"unrecognized arguments: (\S+)", message)
        if found:
            flag = found[1].split("=")[0]
            known = [*self._option_string_actions]
            raise InputError(f"unknown flag {flag}{nearest(flag, known)}; --help lists all")
        raise InputError(f"{message}; --help lists all flags")


class _Loader(yaml.SafeLoader):
    """YAML 1.1 with its two traps mended: 1e-3 is a number, and a key that comes twice is refused."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    twice = [key for i, key in enumerate(keys) if key in keys[:i]]
    if twice:
        raise InputError(f"line {node.start_mark.line + 1}: key {twice[0]!r} stands twice; keep one")
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


_NAMES = (
    "data.targets",
    "data.past",
    "data.future",
    "data.static",
    "data.categorical",
    "data.drop",
    "data.labels",
    "features.columns",
)
_STEPS = [f"features.{name}" for name in Features.model_fields if name not in ("columns", "fourier", "select")]
_LISTS = (*_NAMES, *_STEPS, "window.horizons", "heads.levels")
_PERHAPS_LISTS = ("window.lookback", "heads.value", "heads.direction", "heads.quantiles", "heads.steps")


def _flag_value(key: str, text: str) -> Any:
    """A flag's text as YAML reads it; names are split at commas where the key takes a list."""
    if key in _LISTS or (key in _PERHAPS_LISTS and "," in text and not re.match(r"\s*\[\s*\[", text)):
        text = text.strip("[]")
        parts = [part.strip() for part in text.split(",") if part.strip()]
        if parts == ["auto"] and key in _NAMES:
            return "auto"
        return parts if key in _NAMES else [_scalar(part) for part in parts]
    section, _, name = key.rpartition(".")
    if key in ("name", "runs", "search.storage") or (section == "data" and name != "fill_gaps"):
        return text
    return _scalar(text)


def _scalar(text: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except Exception:  # no YAML: the text itself, which the setting's own check then judges
        return text


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    section, _, name = key.rpartition(".")
    if section:
        inner = tree.get(section)
        if inner is None:
            inner = tree[section] = {}
        if not isinstance(inner, dict):
            raise InputError(f"{section} must be a mapping of keys, got {inner!r}")
        tree = inner
    tree[name] = value


def _leaves(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(key, help text) of every setting; the text under a setting is its help."""
    for name, info in section.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from _leaves(info.annotation, f"{name}.")
        else:
            default = "" if info.default in (None, []) else f"default {info.default}"
            choices = [str(choice) for choice in getattr(info.annotation, "__args__", ()) if isinstance(choice, str)]
            text = "; ".join(part for part in (info.description or "", ", ".join(choices), default) if part)
            yield f"{prefix}{name}", " ".join(text.split())


def _explain(error: ValidationError) -> str:
    first, *others = error.errors(include_url=False)
    location = [str(part) for part in first["loc"] if isinstance(part, str | int)]
    sections = _SECTIONS
    depth = 2 if location and location[0] in sections else 1
    key = ".".join(location[:depth])
    if first["type"] == "extra_forbidden":
        known = dict(_leaves(Config)) if depth == 2 else {**dict(_leaves(Config)), **dict.fromkeys(sections, "")}
        return f"unknown key {key!r}{nearest(key, list(known))}; --help lists all keys"
    value = first["input"]
    shown = repr(value) if len(repr(value)) <= 80 else repr(value)[:77] + "..."
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "literal_error":  # of a setting that takes numbers as well: what is wrong with it as a number
        also = [each["msg"] for each in others if each["loc"][:-1] == first["loc"][:-1]]
        message += "".join(f", or {each.removeprefix('Input should be ').split(',')[0]}" for each in also)
    elif first["type"] == "string_type" and isinstance(value, bool | int | float):
        words = " (as YAML reads yes, on, no and off, too)" if isinstance(value, bool) else ""
        shown += f"{words}, which is no text; put it in quotes"
    choices = re.findall(r"'([^']*)'", first["ctx"]["expected"]) if first["type"] == "literal_error" else []
    hint = nearest(value, choices) if isinstance(value, str) else ""
    return f"{key}: {message[0].lower()}{message[1:]}, got {shown}{hint}" if key else message
