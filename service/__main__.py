"""``python -m service`` is ``hal serve``."""

import typer

from service.cli import serve

typer.run(serve)
