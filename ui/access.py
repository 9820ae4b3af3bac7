"""Access to the application: everyone on this machine, and listed users of an OIDC provider from elsewhere.

The file that `vlrlt ui --auth` takes is Streamlit's secrets file with the list beside it
(https://docs.streamlit.io/develop/concepts/connections/authentication):

    allowed = ["ann@example.org", "@lab.example.org"]    # addresses, or whole domains

    [auth]
    redirect_uri = "https://videos.example.org/oauth2callback"
    cookie_secret = "32 random characters or more"
    client_id = "..."
    client_secret = "..."
    server_metadata_url = "https://accounts.example.org/.well-known/openid-configuration"
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vlrlt.errors import ConfigError
from vlrlt.extras import require
from vlrlt.service.network import LOOPBACK

MIN_SECRET_CHARS = 32
MAX_UPLOAD_MB = 10
"""Of one picture or film to search with."""
_NEEDED = ("redirect_uri", "cookie_secret", "client_id", "client_secret", "server_metadata_url")
_WEAKENING: dict[str, tuple[object, str]] = {
    "server.enableXsrfProtection": (True, "other sites could upload in a visitor's name"),
    "server.enableCORS": (True, "other sites could read what visitors see"),
    "server.corsAllowedOrigins": ([], "those sites could read what visitors see"),
    "server.xsrfCookieSameSite": ("lax", "requests from other sites could carry the visitor's cookie"),
    "server.enableStaticServing": (False, "files would be served to anyone, without login"),
    "server.enableAgentApi": (False, "programs could drive sessions without login"),
    "server.trustedUserHeaders": ({}, "anyone who reaches the port could claim to be any user"),
    "global.developmentMode": (False, "checks of the server are off"),
}
"""Streamlit option -> the only value that is allowed, and what another one would open."""


@dataclass(frozen=True)
class AllowList:
    """Addresses and domains that may come in."""

    entries: tuple[str, ...]

    def allows(self, email: str | None, *, verified: bool = True) -> bool:
        """Whether an address may come in; one that the provider has not verified may not."""
        if not email or not verified:
            return False
        name, _, domain = email.lower().rpartition("@")
        return bool(name) and (email.lower() in self.entries or f"@{domain}" in self.entries)


def check_access(host: str, auth_file: Path | None, *, environment: Mapping[str, str]) -> None:
    """Refuse what would let strangers in.

    Args:
        host: address to listen on.
        auth_file: OIDC provider and allow-list; None: no login.
        environment: variables that the server will see.

    Raises:
        ConfigError: others could reach it without login, a setting weakens it, or the file is incomplete.
        MissingExtraError: Authlib is not installed.
    """
    for name, value, source in _settings(environment):
        allowed, reason = _WEAKENING[name]
        if value != allowed:
            raise ConfigError(f"{source} sets {name} to {value!r}: {reason}; remove it, or set it to {allowed!r}")
    if auth_file is not None:
        read_allow_list(auth_file)
        require("authlib", extra="ui")
    elif host not in LOOPBACK:
        raise ConfigError(
            f"refusing to listen on {host} without login; give --auth FILE with an OIDC provider and the allowed "
            "addresses (docs/how-to/deploy.md), or listen on 127.0.0.1"
        )


def read_allow_list(auth_file: Path) -> AllowList:
    """The list of a file that is complete.

    Raises:
        ConfigError: it is not.
    """
    try:
        said = tomllib.loads(auth_file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{auth_file}: cannot be read as TOML: {error}") from error
    auth = said.get("auth", {})
    missing = [name for name in _NEEDED if not isinstance(auth, dict) or not auth.get(name)]
    if missing:
        raise ConfigError(f"{auth_file}: [auth] needs {', '.join(missing)}")
    if len(auth["cookie_secret"]) < MIN_SECRET_CHARS:
        raise ConfigError(f"{auth_file}: cookie_secret needs {MIN_SECRET_CHARS} characters or more")
    redirect = urlsplit(auth["redirect_uri"])
    if redirect.path.rpartition("/")[2] != "oauth2callback" or not _is_private(redirect.scheme, redirect.hostname):
        raise ConfigError(
            f"{auth_file}: redirect_uri must be https://HOST/oauth2callback (http only on this machine), "
            f"got {auth['redirect_uri']!r}"
        )
    return AllowList(_entries(auth_file, said.get("allowed")))


def public_host(auth_file: Path) -> str:
    """The name under which visitors from elsewhere ask for the application, by a complete file."""
    return urlsplit(tomllib.loads(auth_file.read_text(encoding="utf-8"))["auth"]["redirect_uri"]).hostname or ""


def _entries(auth_file: Path, allowed: object) -> tuple[str, ...]:
    if not isinstance(allowed, list) or not allowed or not all(isinstance(entry, str) for entry in allowed):
        raise ConfigError(f'{auth_file}: allowed needs at least one address or domain: allowed = ["ann@example.org"]')
    for entry in allowed:
        name, at, domain = entry.rpartition("@")
        if not at or "." not in domain or "*" in entry or "@" in name or entry != entry.strip():
            raise ConfigError(f"{auth_file}: allowed takes ann@example.org or @example.org, got {entry!r}")
    return tuple(entry.lower() for entry in allowed)


def _is_private(scheme: str, host: str | None) -> bool:
    return scheme == "https" or (scheme == "http" and host in LOOPBACK)


def _settings(environment: Mapping[str, str]) -> Iterator[tuple[str, Any, str]]:
    """Streamlit options that variables and files set: name, value, where."""
    for name in _WEAKENING:
        if variable_of(name) in environment:
            yield name, _parsed(environment[variable_of(name)]), variable_of(name)
    home = Path(environment.get("HOME", "~")).expanduser()
    for folder in dict.fromkeys((home, Path.cwd(), Path(__file__).parent)):
        file = folder / ".streamlit" / "config.toml"
        if file.is_file():
            try:
                said = tomllib.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise ConfigError(f"{file}: cannot be read as TOML: {error}") from error
            for name in _WEAKENING:
                section, _, option = name.partition(".")
                if option in said.get(section, {}):
                    yield name, said[section][option], str(file)


def variable_of(name: str) -> str:
    """The variable that sets a Streamlit option: server.enableCORS is STREAMLIT_SERVER_ENABLE_CORS."""
    return "STREAMLIT_" + re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.replace(".", "_")).upper()


def _parsed(text: str) -> object:
    """A variable's value as TOML would have it."""
    lowered = text.strip().lower()
    if lowered in ("true", "1", "yes", "on", "false", "0", "no", "off"):
        return lowered in ("true", "1", "yes", "on")
    return [] if not lowered else text.strip()
