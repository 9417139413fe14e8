"""One ssh connection, made when it is needed and again when it broke; host keys are checked."""

from __future__ import annotations

import contextlib
import io
import secrets
import shlex
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

from bridge.errors import ExecutorError, MissingPartError

if TYPE_CHECKING:
    import paramiko

T = TypeVar("T")

CONNECT_S = 10.0
CALL_S = 120.0
ALIVE_S = 15
REST_S = 10.0
"""After a failed connection the host is left alone for so long: a poll must not block each time."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a host is and how one gets in; empty fields mean ssh's own defaults.

    Attributes:
        key: private key file; without one, the agent's keys and those in `~/.ssh`.
        known_hosts: file of host keys; an unknown or changed key is refused.
    """

    host: str
    port: int = 22
    user: str = ""
    key: str = ""
    known_hosts: str = ""

    @property
    def known_hosts_path(self) -> Path:
        """The file that host keys are looked up in."""
        return Path(self.known_hosts or "~/.ssh/known_hosts").expanduser()


class Connection:
    """Commands and files on one host. Every call is made once more on a fresh connection."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._client: paramiko.SSHClient | None = None
        self._lock = threading.Lock()
        self._failed: tuple[float, ExecutorError] | None = None

    def run(self, argv: Sequence[str], *, into: IO[bytes] | None = None) -> bytes:
        """Run a command and answer its output, or write it `into` a file.

        The far side's login shell reads the command, so every word is quoted.

        Raises:
            ExecutorError: the host cannot be reached, or the command failed.
        """

        def call(client: paramiko.SSHClient) -> bytes:
            _, stdout, stderr = client.exec_command(shlex.join(argv), timeout=CALL_S)
            taken = io.BytesIO() if into is None else into
            taken.seek(0)
            taken.truncate()
            while block := stdout.read(65536):
                taken.write(block)
            code = stdout.channel.recv_exit_status()
            if code != 0:
                said = stderr.read(4096).decode(errors="replace").strip()
                raise ExecutorError(
                    f"{argv[0]} ended with {code}: {said}",
                    where=self._address.host,
                    remedy=f"run it there by hand: {shlex.join(argv)[:400]}",
                )
            return taken.getvalue() if isinstance(taken, io.BytesIO) else b""

        return self._again(call)

    def write(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Write a file whole."""
        self.put(path, io.BytesIO(data), mode=mode)

    def put(self, path: str, source: IO[bytes], *, mode: int = 0o644) -> None:
        """Write a file whole from an open one."""

        def call(sftp: paramiko.SFTPClient) -> None:
            source.seek(0)
            partial = f"{path}.{secrets.token_hex(8)}"
            with sftp.open(partial, "wb") as file:
                file.chmod(mode)
                file.set_pipelined(True)
                while block := source.read(2**18):
                    file.write(block)
            sftp.posix_rename(partial, path)

        self._with_sftp(call)

    def read(self, path: str, offset: int, limit: int) -> bytes:
        """A piece of a file, nothing where there is none."""

        def call(sftp: paramiko.SFTPClient) -> bytes:
            try:
                with sftp.open(path, "rb") as file:
                    file.seek(offset)
                    return file.read(limit)
            except FileNotFoundError:
                return b""

        return self._with_sftp(call)

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder."""

        def call(sftp: paramiko.SFTPClient) -> bool:
            try:
                sftp.stat(path)
            except FileNotFoundError:
                return False
            return True

        return self._with_sftp(call)

    def make_folder(self, path: str) -> None:
        """Make a folder and those above it."""
        self._with_sftp(lambda sftp: _make_folder(sftp, path))

    def close(self) -> None:
        """Let the connection go; the next call makes another."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _with_sftp(self, call: Callable[[paramiko.SFTPClient], T]) -> T:
        def with_client(client: paramiko.SSHClient) -> T:
            with contextlib.closing(client.open_sftp()) as sftp:
                channel = sftp.get_channel()
                assert channel is not None
                channel.settimeout(CALL_S)
                try:
                    return call(sftp)
                except OSError as error:
                    if not _is_answer(error):
                        raise
                    raise ExecutorError(
                        f"the host refused a file: {error}",
                        where=self._address.host,
                        remedy="look there for a full disk, and who owns the executor's root",
                    ) from error

        return self._again(with_client)

    def _again(self, call: Callable[[paramiko.SSHClient], T]) -> T:
        with _translated(self._address):
            try:
                return call(self._connected())
            except ExecutorError:
                raise
            except Exception:
                self.close()
                return call(self._connected())

    def _connected(self) -> paramiko.SSHClient:
        with self._lock:
            if self._client is not None:
                transport = self._client.get_transport()
                if transport is not None and transport.is_active():
                    return self._client
                self._client.close()
                self._client = None
            now_s = time.monotonic()
            if self._failed is not None and now_s - self._failed[0] < REST_S:
                raise self._failed[1]
            try:
                with _translated(self._address):
                    self._client = _connect(self._address)
            except ExecutorError as error:
                self._failed = (time.monotonic(), error)
                raise
            self._failed = None
            return self._client


def _connect(address: Address) -> paramiko.SSHClient:
    import paramiko

    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    with contextlib.suppress(FileNotFoundError):
        client.load_host_keys(str(address.known_hosts_path))
    try:
        client.connect(
            address.host,
            port=address.port,
            username=address.user or None,
            key_filename=address.key or None,
            look_for_keys=not address.key,
            timeout=CONNECT_S,
            banner_timeout=CONNECT_S,
            auth_timeout=CONNECT_S,
        )
    except BaseException:
        client.close()
        raise
    transport = client.get_transport()
    assert transport is not None
    transport.set_keepalive(ALIVE_S)
    return client


@contextlib.contextmanager
def _translated(address: Address) -> Iterator[None]:
    """Paramiko's and the network's errors as ours, each with what to do."""
    try:
        import paramiko
    except ImportError as error:
        raise MissingPartError(
            "paramiko is not installed", remedy="pip install 'kakeya-remote[ssh]'"
        ) from error
    place = f"{address.host}:{address.port}"
    try:
        yield
    except paramiko.BadHostKeyException as error:
        raise ExecutorError(
            f"the host key of {place} is not the one in {address.known_hosts_path}",
            where=place,
            remedy="somebody may be in between; if the host was set up anew, ask its operator for "
            f"the new key, then: ssh-keygen -R '{address.host}'",
        ) from error
    except paramiko.AuthenticationException as error:
        raise ExecutorError(
            f"{place} lets nobody in with these keys: {error}",
            where=place,
            remedy="name the user and key in the runner's file, or ssh-add the key",
        ) from error
    except (paramiko.SSHException, OSError, EOFError) as error:
        if "not found in known_hosts" in str(error):
            raise ExecutorError(
                f"the host key of {place} is not known",
                where=place,
                remedy=f"compare its fingerprint with the operator's, then: ssh-keyscan -p "
                f"{address.port} {address.host} >> {address.known_hosts_path}",
            ) from error
        raise ExecutorError(
            f"{place} cannot be reached: {error or type(error).__name__}",
            where=place,
            remedy=f"try: ssh -p {address.port} {address.user or '$USER'}@{address.host} true",
        ) from error


def _is_answer(error: OSError) -> bool:
    """Whether the file server said no, as opposed to a connection that broke."""
    return isinstance(error, (PermissionError, FileNotFoundError)) or str(error) == "Failure"


def _make_folder(sftp: paramiko.SFTPClient, path: str) -> None:
    try:
        if stat.S_ISDIR(sftp.stat(path).st_mode or 0):
            return
    except FileNotFoundError:
        pass
    _make_folder(sftp, path.rpartition("/")[0] or "/")
    try:
        sftp.mkdir(path)
    except OSError:  # another call was first
        sftp.stat(path)
