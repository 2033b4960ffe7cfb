"""Directories on real web servers, as far as they are installed."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from bidsplan.storage import Access, open_store
from servers import HOST, Process, free_port

CONFIGURATIONS = {
    "nginx": """daemon off; pid {run}/pid; error_log {run}/log; events {{}}
        http {{ access_log off; client_body_temp_path {run}; proxy_temp_path {run};
        fastcgi_temp_path {run}; uwsgi_temp_path {run}; scgi_temp_path {run};
        server {{ listen {host}:{port}; root {root}; autoindex on;
        location /ds/sub-02/ {{ autoindex off; }} }} }}""",
    "apache2": """ServerName localhost\nServerRoot {run}\nPidFile {run}/pid\nErrorLog {run}/log
        Listen {host}:{port}\nDocumentRoot {root}
        LoadModule mpm_event_module {modules}/mod_mpm_event.so
        LoadModule authz_core_module {modules}/mod_authz_core.so
        LoadModule autoindex_module {modules}/mod_autoindex.so
        IndexOptions FancyIndexing HTMLTable
        <Directory {root}>\nOptions +Indexes\nRequire all granted\n</Directory>
        <Directory {root}/ds/sub-02>\nOptions -Indexes\n</Directory>""",
    "lighttpd": """server.document-root = "{root}"\nserver.bind = "{host}"\nserver.port = {port}
        server.modules = ("mod_dirlisting")\ndir-listing.activate = "enable"
        $HTTP["url"] == "/ds/sub-02/" {{ dir-listing.activate = "disable" }}""",
    "caddy": """{{\nadmin off\nauto_https off\n}}\nhttp://{host}:{port} {{\nroot * {root}
        @plain path /ds/sub-02/\nfile_server @plain\nfile_server browse\n}}""",
}
COMMANDS = {
    "nginx": ["-c", "{file}"],
    "apache2": ["-X", "-f", "{file}"],
    "lighttpd": ["-D", "-f", "{file}"],
    "caddy": ["run", "--config", "{file}", "--adapter", "caddyfile"],
}
MODULES = "/usr/lib/apache2/modules"
FILES = [
    "dataset_description.json",
    "sub-01/anat/sub-01_desc-a+b_T1w.nii.gz",
    "sub-01/a b & c; d.txt",
    "sub-01/100%.txt",
    "sub-01/%2541.txt",
    "sub-01/-C=N;O=D",
    "sub-01/c:d #e ?f 'g' \"h\".txt",
    "sub-01/caf\u00e9.txt",
    "sub-01/sub-01_a-very-long-name-that-is-cut-where-it-is-shown_desc-but-never-in-its-link_T1w",
    "sub-02/a.txt",
]


@pytest.fixture(params=CONFIGURATIONS)
def web(request):
    """Give the URL of a directory on a server of a kind."""
    name = request.param
    path = f"/usr/sbin{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    program = shutil.which(name, path=path)
    if program is None:
        pytest.skip(f"{name} is not installed")
    # A folder of its own, since some run as another user, who may not look into pytest's.
    with tempfile.TemporaryDirectory() as folder:
        root, run, port = Path(folder, "root"), Path(folder, "run"), free_port()
        for each in FILES:
            file = root / "ds" / each
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(each)
        (root / "ds/sub-01/empty").mkdir()
        run.mkdir()
        Path(folder).chmod(0o755)
        configuration = CONFIGURATIONS[name].format(
            root=root, run=run, host=HOST, port=port, modules=MODULES
        )
        (run / "conf").write_text(f"{configuration}\n")
        command = [each.format(file=run / "conf") for each in COMMANDS[name]]
        server = Process([program, *command], port, run / "out")
        yield f"{server.url}/ds"
        server.stop()


def test_each_server_lists_all_files_by_their_names(web):
    with open_store(web, access=Access(allow_protocols=frozenset({"http"}))) as store:
        root = store.children()
        assert [item.key for item in root.objects] == ["dataset_description.json"]
        assert root.directories == ("sub-01/", "sub-02/")
        expected = {key: len(key.encode()) for key in FILES if key.startswith("sub-01/")}
        assert {item.key: item.size for item in store.list("sub-01/")} == expected
        for key in FILES:
            assert store.read(key, limit=1000) == key.encode()
        with pytest.raises(OSError, match="shows no index of them"):
            store.children("sub-02/")
        assert store.children("sub-03/") == ((), ())
