"""Profiles: ``profiles/<name>.yaml`` beside params.yaml holds only the params that differ from it.

A profile is merged into the plain data of params.yaml before that is checked, so it can change every param and is checked as
strictly (``pipeline.config.params.read_params``). The merge follows JSON Merge Patch (RFC 7396).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pipeline.config.schema import NAME
from rdmc.errors import ConfigError

FOLDER = "profiles"
"""The folder of the profiles, beside params.yaml."""


def profile_path(params: Path, name: str) -> Path:
    """The file of the profile ``name`` that belongs to the params file ``params``.

    Raises ConfigError if ``name`` is not the name of an existing profile. The error lists those that exist.
    """
    folder = params.parent / FOLDER
    path = folder / f"{name}.yaml"
    if not re.match(NAME, name) or not path.is_file():
        known = ", ".join(sorted(found.stem for found in folder.glob("*.yaml"))) or "there are none"
        raise ConfigError(f"{name!r} is not a profile in {folder} ({known}); name one of these or add {name}.yaml there")
    return path


def merged(data: Any, changes: Any, source: str) -> dict[str, Any]:
    """``data``, the plain params, with the ``changes`` of a profile. Neither of them is changed.

    A map is merged key by key, ``null`` removes a key, and any other value, lists included, replaces the one in ``data``.
    Raises ConfigError, which names ``source``, if ``changes`` is not a map with at least one param, or removes a key that
    ``data`` does not have.
    """
    if not isinstance(changes, dict) or not changes:
        what = f"is a {type(changes).__name__}, not a map of params" if changes else "is empty"
        raise ConfigError(f"{source}: {what}; write the params that differ from params.yaml")
    return _merge(data, changes, source, ())


def _merge(data: Any, changes: dict[str, Any], source: str, parents: tuple[str, ...]) -> dict[str, Any]:
    result = dict(data) if isinstance(data, dict) else {}
    for key, value in changes.items():
        here = (*parents, str(key))
        if value is None:
            if key not in result:
                raise ConfigError(f"{source}: {'.'.join(here)}: null removes a param, and there is none; fix its name")
            del result[key]
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = _merge(result[key], value, source, here)
        else:
            result[key] = value
    return result
