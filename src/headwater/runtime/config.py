"""A TOML file, the environment and the command line become one checked value that knows where each setting came from.

Later ones win: default, `headwater.toml`, environment (`HEADWATER_SERVER_PORT=9000`), command line. A name that nobody
knows is an error wherever it stands: a setting that is silently ignored is worse than none.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import environ
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource

from headwater.core.errors import ConfigError, nearest
from headwater.runtime.guarding import token_of
from headwater.runtime.settings import PREFIX, Settings

FILE_NAME = "headwater.toml"
SWITCHES = {
    "HEADWATER_DEBUG": "1 shows a traceback with every error of the command line",
    "HEADWATER_KEY": "the key that commands show to a gateway which asks for one",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as it came out.

    Attributes:
        name: `section.key`, or `key` outside all sections.
        value: What holds; None where it is not set.
        source: `default`, `FILE:LINE`, `environment NAME` or `command line`.
        purpose: What it is for, its unit, what None means.
        variable: The environment variable that sets it.
    """

    name: str
    value: object
    source: str
    purpose: str
    variable: str


@dataclass(frozen=True, slots=True)
class Config:
    """Checked settings, and where each came from."""

    settings: Settings
    sources: dict[str, str]

    def explain(self) -> list[Setting]:
        """Every setting, in the order of its declaration."""
        return [
            Setting(name, value, self.sources.get(name, "default"), purpose, variable_of(name))
            for name, value, purpose in _leaves(self.settings)
        ]


def _leaves(model: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    for key, field in type(model).model_fields.items():
        value = getattr(model, key)
        if isinstance(value, BaseModel):
            yield from _leaves(value, f"{key}.")
        else:
            yield prefix + key, value, field.description or ""


def key_to_show(settings: Settings | None = None) -> str | None:
    """The key that commands on this machine show to a gateway: HEADWATER_KEY, else the token of its settings, if any.

    Raises:
        ConfigError: The token cannot be read.
    """
    return environ.get("HEADWATER_KEY") or (None if settings is None else token_of(settings.server.token_file))


def names() -> list[str]:
    """Every setting's name, in the order of its declaration."""
    return [name for name, _, _ in _leaves(Settings.model_construct())]


def variable_of(name: str) -> str:
    """The environment variable that sets a setting.

    >>> variable_of("log.retention_age")
    'HEADWATER_LOG_RETENTION_AGE'
    """
    return PREFIX + name.replace(".", "_").upper()


def find(app: Path | None, config: Path | None) -> Path | None:
    """The file to read: the one asked for, else `headwater.toml` beside the app, else none.

    Raises:
        ConfigError: The one asked for does not exist.
    """
    if config is not None:
        if not config.is_file():
            raise ConfigError("there is no such file", where=str(config), next_step="Name an existing file with --config.")
        return config
    beside = (app.parent if app is not None else Path()) / FILE_NAME
    return beside if beside.is_file() else None


def load(path: Path | None = None, given: Mapping[str, object] | None = None) -> Config:
    """Read and check all settings.

    Args:
        path: A TOML file, or None for no file; see `find`.
        given: What the command line says, by setting name (`server.port`); None means "not said".

    Raises:
        ConfigError: An unknown name or a wrong value; says in which file, line or variable.
    """
    asked = {name: value for name, value in (given or {}).items() if value is not None}
    data, lines = _read(path) if path is not None else ({}, {})
    variables = _variables()
    sources = {name: f"{path}:{line}" for name, line in lines.items()}
    sources |= {name: f"environment {variable}" for name, variable in variables.items()}
    sources |= dict.fromkeys(asked, "command line")
    for name in (*lines, *asked):
        _known(name, sources[name])
    try:
        return Config(_settings_from(data)(**_nested(asked)), sources)
    except ValidationError as error:
        raise _explained(error, sources) from None


def _settings_from(data: dict[str, Any]) -> type[Settings]:
    class FromFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource, dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:  # fmt: skip
            return init_settings, env_settings, InitSettingsSource(settings_cls, data)

    return FromFile


def _read(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """The file's data, and the line of each setting in it."""
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"this file cannot be read ({error})", where=str(path), expected="a TOML file") from error
    if isinstance(state_dir := data.get("state_dir"), str):
        data["state_dir"] = str(path.parent / Path(state_dir).expanduser())
    return data, {name: _line(text, name) for name in _keys(data)}


def _keys(data: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in data.items():
        if isinstance(value, dict) and not prefix:
            yield from _keys(value, f"{key}.")
            if not value and key not in _sections():
                yield key
        else:
            yield prefix + key


def _sections() -> set[str]:
    return {name.split(".")[0] for name in names() if "." in name}


def _line(text: str, name: str) -> int:
    """The line on which a setting stands; 1 where it is spelt in an unusual way."""
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\s*([\w.-]+)\s*\]", line):
            section = f"{header[1]}."
        said = re.match(r"\s*([\w.-]+)\s*=", line)
        if section == f"{name}." or (said and section + said[1] == name):
            return number
    return 1


def _variables() -> dict[str, str]:
    """Setting name -> the variable that is set for it; an unknown `HEADWATER_` variable is an error."""
    by_variable = {variable_of(name): name for name in names()}
    found = {}
    for variable in environ:
        upper = variable.upper()
        if not upper.startswith(PREFIX) or upper in SWITCHES:
            continue
        if upper not in by_variable:
            raise ConfigError(
                "no such setting", where=f"environment {variable}", next_step=nearest(upper, [*by_variable, *SWITCHES])
            )
        if environ[variable]:
            found[by_variable[upper]] = variable
    return found


def _known(name: str, where: str) -> None:
    known = names()
    if name not in known:
        key = name.rpartition(".")[2]
        elsewhere = next((full for full in known if full.endswith(f".{key}")), None)
        step = f"Did you mean {elsewhere}?" if elsewhere else nearest(name, known)
        raise ConfigError("no such setting", where=where, got=name, next_step=step)


def _nested(given: Mapping[str, object]) -> dict[str, Any]:
    """`{"server.port": 1}` as `{"server": {"port": 1}}`."""
    out: dict[str, Any] = {}
    for name, value in given.items():
        section, _, key = name.rpartition(".")
        (out.setdefault(section, {}) if section else out)[key] = value
    return out


def _explained(error: ValidationError, sources: Mapping[str, str]) -> ConfigError:
    """The first wrong value as one error."""
    first = error.errors(include_url=False)[0]
    name = ".".join(str(part) for part in first["loc"][:2])
    expected = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return ConfigError(
        f"wrong value for {name}",
        where=sources.get(name) or next((said for given, said in sources.items() if given.startswith(f"{name}.")), name),
        expected=expected,
        got=repr(first["input"]),
        next_step="`headwater config explain` tells what every setting is for.",
    )
