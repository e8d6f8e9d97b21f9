"""The base of every section of params.yaml: strict types, and a one-line error for a broken rule."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator, ValidationError

from rdmc.errors import ConfigError

NAME = r"^[a-z0-9][a-z0-9-]{0,40}$"
TAGS = {"embedded", "folders", "benchmark", "PairFolders", "SideBySide", "Choice", "Uniform", "LogUniform", "Integer", "[key]"}
"""Parts that pydantic adds to the location of an error, from the third part on."""


class Strict(BaseModel):
    """Base of every section: no unknown keys, no type conversion, immutable."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def by_keys(*models: type[BaseModel]) -> Discriminator:
    """A discriminator that picks the union member sharing most keys with the value, so that an error is about that member.

    Each member's tag is its class name.
    """

    def choose(value: Any) -> str | None:
        if not isinstance(value, dict):
            return type(value).__name__
        shared = {model.__name__: len(model.model_fields.keys() & value.keys()) for model in models}
        best = max(shared, key=lambda name: shared[name])
        return best if shared[best] else None

    needed = ([name for name, field in model.model_fields.items() if field.is_required()] for model in models)
    wanted = ", or ".join(" and ".join(names) for names in needed)
    return Discriminator(choose, custom_error_type="no_such_keys", custom_error_message=f"Input should be a map with {wanted}")


Section = TypeVar("Section", bound=Strict)


def parse(model: type[Section], data: Any, source: str) -> Section:
    """Validate plain data as a section of params.yaml, or as all of it.

    Args:
        model: The section's class.
        data: Plain data, as read from YAML or JSON.
        source: Where the data comes from. The error names it.

    Raises:
        ConfigError: An unknown key, a wrong type or a broken rule, in one line such as ``params.yaml: train.lr: …``.
    """
    if not isinstance(data, dict):
        what = "is empty" if data is None else f"is a {type(data).__name__}, not a map of params"
        raise ConfigError(f"{source}: {what}; write the params that pipeline/config/params.py describes")
    try:
        text = json.dumps(data)
        _require_names(data)
        return model.model_validate_json(text)  # JSON mode is strict, yet reads a list as a tuple
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None
    except ValidationError as error:
        raise ConfigError(f"{source}: {_first_problem(error, source)}") from None
    except (TypeError, ValueError) as error:  # such as a date, or an anchor that contains itself
        raise ConfigError(f"{source}: holds what params cannot ({error}); use numbers, strings, lists and maps") from None


def _require_names(data: dict[Any, Any], above: str = "") -> None:
    """Raise ConfigError for a key at any depth that is no string: JSON would turn it into one."""
    for key, value in data.items():
        if not isinstance(key, str):
            raise ConfigError(f"{above}{key!r}: a name that YAML reads as {type(key).__name__}; write it in quotes")
        if isinstance(value, dict):
            _require_names(value, f"{above}{key}: ")


def _first_problem(error: ValidationError, source: str) -> str:
    """``train.lr: 'fast': Input should be a valid number``, from the first of pydantic's errors, and where to fix it."""
    first = error.errors()[0]
    parts = [part for place, part in enumerate(first["loc"]) if place < 2 or part not in TAGS]
    where = ".".join(str(part) for part in parts)
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{where}: unknown key; remove it or fix its spelling"
    if first["type"] == "missing":
        return f"{where}: missing; add it (pipeline/config/params.py describes every param)"
    cure = "fix it there" if source.endswith((".yaml", ".yml")) else "fix it in params.yaml"
    return f"{where}: {first['input']!r}: {first['msg'].removeprefix('Value error, ')}; {cure}"
