"""Scripts that measure in a process of their own: what they are given on standard input and what they find, as JSON."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def ask(script: Path, given: object, *arguments: str, environment: Mapping[str, str] | None = None) -> Any:
    """What a script of ours prints.

    Ctrl-C does not reach it: whoever started the measurement ends it.

    Args:
        script: its file.
        given: what it reads.
        arguments: of its command line.
        environment: instead of this process's.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as stream:
        json.dump(given, stream)
        stream.seek(0)
        done = subprocess.run(  # noqa: S603 - our own script
            [sys.executable, str(script), *arguments],
            stdin=stream,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,
            check=True,
        )
    return json.loads(done.stdout)
