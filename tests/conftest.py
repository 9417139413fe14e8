"""What holds for every test: no git configuration, identity or cache of this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import parts
from tests.servers.git_servers import PARTS, SERVERS, open_transport
from tests.servers.transport import Transport

# machines are shared: how long one example takes says nothing of it
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

_KEPT = {"KAKEYA_REQUIRE_REAL", "KAKEYA_TEST_ASSETS"}
_DROPPED = {"SSH_AUTH_SOCK", "SSH_ASKPASS", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"}


@pytest.fixture(scope="session")
def session_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty home folder for the whole session."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session", autouse=True)
def isolated_environment(session_home: Path) -> Iterator[None]:
    """An environment as on a fresh machine: no git identity, no cache, no setting of ours."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            foreign = name.startswith(("GIT_", "KAKEYA_")) and name not in _KEPT
            if foreign or name in _DROPPED:
                patch.delenv(name)
        patch.setenv("HOME", str(session_home))
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        for name in ("NO_PROXY", "no_proxy"):  # servers of the tests are on loopback
            patch.setenv(name, "127.0.0.1,localhost")
        patch.setenv("KAKEYA_CACHE", str(session_home / "kakeya-cache"))
        yield


@pytest.fixture(autouse=True)
def real_parts(request: pytest.FixtureRequest) -> None:
    """Skip, or fail under `KAKEYA_REQUIRE_REAL=1`, what is marked `real(part)` and lacks it."""
    for mark in request.node.iter_markers("real"):
        for part in mark.args:
            parts.require(part)


@pytest.fixture(scope="session")
def require() -> Callable[[str], None]:
    """`require(part)`: go on only where a real part is here (`tests.parts`)."""
    return parts.require


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[[str], Transport]]:
    """`serve(name)`: the git server of that name, started once and kept for the session."""
    with ExitStack() as stack:
        running: dict[str, Transport] = {}

        def start(name: str) -> Transport:
            for part in PARTS[name]:
                parts.require(part)
            if name not in running:
                running[name] = stack.enter_context(open_transport(name))
            return running[name]

        yield start


@pytest.fixture(params=SERVERS)
def transport(
    request: pytest.FixtureRequest,
    serve: Callable[[str], Transport],
    monkeypatch: pytest.MonkeyPatch,
) -> Transport:
    """Every git server in turn, with what a client needs to reach it in the environment."""
    chosen = serve(request.param)
    for name, value in chosen.client_env.items():
        monkeypatch.setenv(name, value)
    return chosen
