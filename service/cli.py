"""The commands of the service; ``hal serve`` with every way of not getting to a listening server."""

import logging
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from service.auth import cli as keys_command
from service.errors import UserError
from service.jobs.classify import classify
from service.jobs.exit_codes import JobCommand
from service.jobs.score.cli import score
from service.jobs.slides import app as slides_app

app = typer.Typer()
app.add_typer(keys_command.app, name="keys")
app.add_typer(slides_app, name="slides")
logger = logging.getLogger("hal.cli")


class _ServeCommand(TyperCommand):
    """Its help ends with every setting, which are too many to be options."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from service.reference import settings_lines

        # An empty line keeps each on a line of its own; brackets would be taken for markup.
        settings = "\n\n".join(line.replace("[", "\\[") for line in settings_lines())
        self.epilog = f"Settings, as environment variables:\n\n{settings}"
        super().format_help(ctx, formatter)


@app.command(cls=_ServeCommand)
def serve(
    bundle: Annotated[Path | None, typer.Option(help="Folder of the bundle (HAL_BUNDLE).")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on (HAL_HOST).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on, 0 for any free one (PORT).")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or tensorrt (HAL_DEVICE).")] = None,
    precision: Annotated[str | None, typer.Option(help="float32, float16 or int8 (HAL_PRECISION).")] = None,
    max_batch: Annotated[int | None, typer.Option(help="Most images in a batch (HAL_MAX_BATCH).")] = None,
    fit: Annotated[str | None, typer.Option(help="strict, crop or pad (HAL_FIT).")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error (HAL_LOG_LEVEL).")] = None,
) -> None:
    """Serve a bundle over HTTP: the page at /, POST /classify for programs, the API reference at /docs.

    Every setting is a HAL_* variable (all of them below); the options win over the variables.

    Example: hal serve --bundle models/mine/1 --port 8080
    """
    from contract.bundle import BundleError, load
    from contract.streams import open_closed_streams, release_streams
    from service.observe import logs

    open_closed_streams()
    from service.auth.authorise import check_exposure
    from service.engine.sessions import check_device
    from service.environment import clashing_runtimes, load_settings, unknown_variables
    from service.http.server import listen
    from service.http.server import serve as run
    from service.serving.service import Service

    options = {
        "bundle": bundle,
        "host": host,
        "port": port,
        "device": device,
        "precision": precision,
        "max_batch": max_batch,
        "fit": fit,
        "log_level": log_level,
    }
    try:
        settings = load_settings(options)
        logs.configure(settings.log_level, settings.log_format)
        for warning in (*unknown_variables(os.environ), *clashing_runtimes()):
            logger.warning(warning)
        listener = listen(settings)
        with listener:
            check_exposure(settings, listener)
            check_device(settings.device)
            verified = load(settings.bundle)
            service = Service(settings, verified)
            run(service, listener)
        if service.failure is not None:
            raise service.failure
        if service.abandoned:
            # Python would wait for the engine's thread, which may build an engine for minutes or hang for ever.
            release_streams()
            os._exit(0)
    except (BundleError, UserError) as error:
        logs.say(f"hal serve: {error}", err=True)
        raise typer.Exit(1) from None
    finally:
        release_streams()


app.command("classify", cls=JobCommand)(classify)
app.command("score", cls=JobCommand)(score)


@app.command()
def reference(
    out: Annotated[Path | None, typer.Option(help="Write the page here instead of printing it.")] = None,
) -> None:
    """Write the reference of all settings and metrics, from the code."""
    from service.reference import page

    if out is None:
        typer.echo(page(), nl=False)
    else:
        out.write_text(page(), encoding="utf-8")
