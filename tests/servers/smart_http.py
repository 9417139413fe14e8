"""Smart HTTP as most people host it: nginx, fcgiwrap, git-http-backend.

Source: git-http-backend(1), https://nginx.org/en/docs/http/ngx_http_fastcgi_module.html
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.child import (
    find_git_program,
    find_program,
    free_port,
    listens,
    running,
    server_env,
)
from tests.servers.transport import Transport

USER, PASSWORD = "requester", "open-sesame"
"""Who may use the variant `locked`."""

_WORKERS = 6  # a poll and a push of each of a few racing clients


@contextmanager
def serve(folder: Path, base: Path) -> Iterator[Transport]:
    """Serve `base` at three addresses.

    The variants: `read-only`, where a push is refused with 403, and `locked`, where everything
    asks for a password (`USER`, `PASSWORD`).
    """
    port = free_port()
    socket = folder / "cgi.sock"
    (folder / "passwords").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
    config = folder / "nginx.conf"
    config.write_text(_nginx_config(folder, base, socket, port))
    nginx, fcgiwrap = find_program("nginx"), find_program("fcgiwrap")
    assert nginx is not None
    assert fcgiwrap is not None
    env = server_env(folder)
    cgi = [fcgiwrap, "-f", "-c", str(_WORKERS), "-s", f"unix:{socket}"]
    web = [nginx, "-p", str(folder), "-c", str(config), "-e", str(folder / "nginx.error")]
    with (
        running(cgi, folder=folder, env=env, ready=socket.exists),
        running(web, folder=folder, env=env, ready=lambda: listens(port)),
    ):
        address = f"http://127.0.0.1:{port}"
        variants = {name: f"{address}/{name}" for name in ("read-only", "locked")}
        yield Transport("http", base, f"{address}/git", variants=variants)


def _nginx_config(folder: Path, base: Path, socket: Path, port: int) -> str:
    backend = find_git_program("git-http-backend")
    temporary = "".join(
        f"  {kind}_temp_path {folder}/tmp-{kind};\n"
        for kind in ("client_body", "fastcgi", "proxy", "scgi", "uwsgi")
    )
    # as root, nginx would drop to a user that may not enter the folder
    user = "user root;\n" if os.geteuid() == 0 else ""
    cgi = f"""
      fastcgi_pass unix:{socket};
      fastcgi_buffering off;
      fastcgi_param REQUEST_METHOD $request_method;
      fastcgi_param QUERY_STRING $query_string;
      fastcgi_param CONTENT_TYPE $content_type;
      fastcgi_param CONTENT_LENGTH $content_length;
      fastcgi_param SERVER_PROTOCOL $server_protocol;
      fastcgi_param REMOTE_ADDR $remote_addr;
      fastcgi_param GIT_PROTOCOL $http_git_protocol;
      fastcgi_param GIT_PROJECT_ROOT {base};
      fastcgi_param GIT_HTTP_EXPORT_ALL 1;
      fastcgi_param SCRIPT_FILENAME {backend};
      fastcgi_param PATH_INFO $1;"""
    # git-http-backend takes a push only from somebody with a name
    writer = "fastcgi_param REMOTE_USER somebody;"
    return f"""{user}daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.error warn;
events {{ worker_connections 128; }}
http {{
  access_log off;
{temporary}  client_max_body_size 0;
  server {{
    listen 127.0.0.1:{port};
    location ~ ^/git(/.*)$ {{ {writer} {cgi} }}
    location ~ ^/read-only(/.*)$ {{ {cgi} }}
    location ~ ^/locked(/.*)$ {{
      auth_basic "bus";
      auth_basic_user_file {folder}/passwords;
      {writer} {cgi}
    }}
  }}
}}
"""
