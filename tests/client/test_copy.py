"""The folder ``client/`` is there to be copied into another program."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import client
from tests.service.live_server import LiveServer

FOLDER = Path(client.__file__).parent


def test_the_folder_needs_only_httpx_and_the_standard_library() -> None:
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            else:
                continue
            assert {name.partition(".")[0] for name in names} <= {*sys.stdlib_module_names, "httpx"}, path


def test_a_copy_under_another_name_works(live: LiveServer, cells: list[bytes], tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "hal_cells_client")
    (tmp_path / "cell.png").write_bytes(cells[1])
    program = f"from hal_cells_client import HalClient; print(*HalClient({live.url!r}).classify('cell.png').results)"
    found = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "class_id='eosinophil'" in found.stdout
