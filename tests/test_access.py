"""Who may use the application: nobody from elsewhere without login, and no setting that undoes it."""

import secrets
from pathlib import Path

import pytest

from vlrlt.errors import ConfigError
from vlrlt.ui.access import AllowList, check_access, read_allow_list

AUTH = """
allowed = ["Ann@example.org", "@lab.example.org"]

[auth]
redirect_uri = "https://videos.example.org/oauth2callback"
cookie_secret = "{secret}"
client_id = "vlrlt"
client_secret = "x"
server_metadata_url = "https://accounts.example.org/.well-known/openid-configuration"
"""


@pytest.fixture
def auth_file(tmp_path: Path) -> Path:
    file = tmp_path / "auth.toml"
    file.write_text(AUTH.format(secret=secrets.token_hex(32)))
    return file


@pytest.fixture(autouse=True)
def _somewhere_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration of whoever runs the tests."""
    monkeypatch.chdir(tmp_path)


def environment(tmp_path: Path, **variables: str) -> dict[str, str]:
    return {"HOME": str(tmp_path / "home"), **variables}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_this_machine_needs_no_login(host: str, tmp_path: Path) -> None:
    check_access(host, None, environment=environment(tmp_path))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.0.7", "videos.example.org", "127.0.0.1.example.org"])
def test_any_other_address_needs_login(host: str, auth_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="refusing to listen"):
        check_access(host, None, environment=environment(tmp_path))
    check_access(host, auth_file, environment=environment(tmp_path))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("STREAMLIT_SERVER_ENABLE_XSRF_PROTECTION", "false"),
        ("STREAMLIT_SERVER_ENABLE_CORS", "0"),
        ("STREAMLIT_SERVER_CORS_ALLOWED_ORIGINS", "https://evil.example"),
        ("STREAMLIT_SERVER_ENABLE_STATIC_SERVING", "true"),
        ("STREAMLIT_SERVER_ENABLE_AGENT_API", "true"),
        ("STREAMLIT_SERVER_XSRF_COOKIE_SAME_SITE", "none"),
        ("STREAMLIT_SERVER_TRUSTED_USER_HEADERS", '{"X-User": "email"}'),
    ],
)
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_variables_that_weaken_it_are_refused_with_the_reason(
    variable: str, value: str, host: str, auth_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=rf"{variable} sets server\.\w+ to .+: .+; remove it"):
        check_access(host, auth_file, environment=environment(tmp_path, **{variable: value}))


def test_the_variables_are_those_that_streamlit_reads() -> None:
    from streamlit import config

    from vlrlt.ui.access import _WEAKENING, variable_of

    options = config.get_config_options()
    assert {name: variable_of(name) for name in _WEAKENING} == {name: options[name].env_var for name in _WEAKENING}


def test_harmless_variables_are_not(tmp_path: Path) -> None:
    variables = {"STREAMLIT_SERVER_ENABLE_CORS": "true", "STREAMLIT_THEME_BASE": "dark"}
    check_access("127.0.0.1", None, environment=environment(tmp_path, **variables))


@pytest.mark.parametrize("folder", [".", "home"])
def test_files_that_weaken_it_are_refused(folder: str, tmp_path: Path) -> None:
    file = tmp_path / folder / ".streamlit" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text("[server]\nenableXsrfProtection = false\n")
    with pytest.raises(ConfigError, match=r"config\.toml sets server\.enableXsrfProtection to False"):
        check_access("127.0.0.1", None, environment=environment(tmp_path))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("allowed =", "invited =", "allowed needs at least one address"),
        ('"Ann@example.org", ', '"*", ', r"got '\*'"),
        ('"Ann@example.org", ', '"@org", ', "got '@org'"),
        ("client_id", "client", "needs client_id"),
        ("https://videos", "http://videos", "redirect_uri must be https"),
        ("/oauth2callback", "/", "redirect_uri must be https"),
        ("[auth]", "[auth", "cannot be read as TOML"),
    ],
)
def test_an_incomplete_file_is_refused(old: str, new: str, message: str, auth_file: Path) -> None:
    auth_file.write_text(auth_file.read_text().replace(old, new))
    with pytest.raises(ConfigError, match=message):
        read_allow_list(auth_file)


def test_a_short_secret_is_refused(auth_file: Path) -> None:
    auth_file.write_text(AUTH.format(secret="short"))
    with pytest.raises(ConfigError, match="32 characters"):
        read_allow_list(auth_file)


def test_only_who_is_listed_may_come_in(auth_file: Path) -> None:
    allow_list = read_allow_list(auth_file)
    assert allow_list == AllowList(("ann@example.org", "@lab.example.org"))
    assert allow_list.allows("ann@example.org")
    assert allow_list.allows("ANN@EXAMPLE.ORG")
    assert allow_list.allows("bob@lab.example.org")
    for stranger in ("bob@example.org", "ann@example.org.evil", "x@sub.lab.example.org", "@lab.example.org", "", None):
        assert not allow_list.allows(stranger)
    assert not allow_list.allows("ann@example.org", verified=False)
