"""``hal serve``: from settings to a listening server, and every way of not getting there."""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import typer
from typer.core import TyperCommand

from service import keys_command
from service.bench.cli import app as bench_app
from service.folders.cli import classify
from service.folders.endings import ManyImagesCommand
from service.score.cli import score
from service.slides_cli import app as slides_app

if TYPE_CHECKING:
    from contract.bundle import Bundle
    from service.lifecycle import Hal
    from service.settings import Settings

app = typer.Typer(help="Serve a bundle over HTTP.", no_args_is_help=True)
app.add_typer(bench_app, name="bench")
app.add_typer(keys_command.app, name="keys")
app.add_typer(slides_app, name="slides")
logger = logging.getLogger("hal.cli")

_BACKLOG: Final = 2048
"""Connections that wait for the server."""


@app.callback()
def _group() -> None:
    """Serve a bundle over HTTP."""


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
    _require_extra()
    from contract.bundle import BundleError, load
    from service import logs
    from service.allocator import give_large_blocks_back
    from service.audit import AuditError
    from service.engine import EngineError
    from service.keys import KeysError
    from service.lifecycle import Hal
    from service.security import ExposedError, check_exposure
    from service.sessions import check_device
    from service.settings import SettingsError, load_settings, unknown_variables
    from service.workers.memory import SharedMemoryError

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
        give_large_blocks_back()
        logs.configure(settings.log_level)
        for warning in unknown_variables(os.environ):
            logger.warning(warning)
        listener = _listen(settings)
        with listener:
            check_exposure(settings, listener)
            check_device(settings.device)
            verified = load(settings.bundle)
            if settings.http_workers > 1:
                _run_processes(settings, verified, listener)
                return
            hal = Hal(settings, verified)
            _run(hal, listener)
        if hal.failure is not None:
            raise hal.failure
        if hal.abandoned:
            # Python would wait for the engine's thread, which may build an engine for minutes or hang for ever.
            sys.stdout.flush()
            logging.shutdown()
            os._exit(0)
    except (
        SettingsError,
        AuditError,
        BundleError,
        EngineError,
        ExposedError,
        KeysError,
        _PortError,
        SharedMemoryError,
    ) as error:
        typer.echo(f"hal serve: {error}", err=True)
        raise typer.Exit(1) from None


app.command("classify", cls=ManyImagesCommand)(classify)
app.command("score", cls=ManyImagesCommand)(score)


@app.command()
def reference(
    out: Annotated[Path | None, typer.Option(help="Write the page here instead of printing it.")] = None,
) -> None:
    """Write the reference of all settings and metrics, from the code."""
    _require_extra()
    from service.reference import page

    if out is None:
        typer.echo(page(), nl=False)
    else:
        out.write_text(page(), encoding="utf-8")


class _PortError(Exception):
    """The address cannot be listened on."""


def _require_extra() -> None:
    try:
        import fastapi  # noqa: F401
        import onnxruntime  # noqa: F401
        import pydantic_settings  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        typer.echo(
            f"hal serve: {error.name} is not installed. Install the service with pip install 'hal-cells[service]' "
            "(CPU) or 'hal-cells[service-gpu]' (CUDA), never both.",
            err=True,
        )
        raise typer.Exit(1) from None


def _listen(settings: "Settings") -> socket.socket:
    """A bound socket, before the model is loaded: a taken port is found out at once."""
    try:
        family, *_, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise _PortError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; choose another with PORT=8001 or "
            "--port 8001, or stop what listens there"
        ) from error
    return listener


def _run(hal: "Hal", listener: socket.socket) -> None:
    import uvicorn

    from service.app import create_app
    from service.connections import patient
    from service.lifecycle import last_wait_s

    settings = hal.settings

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, _: FrameType | None) -> None:
            # uvicorn's own handler raises the signal again at the end, and the exit code would not be 0.
            again = hal.draining
            at_once = again or sig == signal.SIGINT or not settings.drain_delay_s or not self.started
            hal.begin_drain(turn_away=at_once)
            self.force_exit = self.should_exit and sig == signal.SIGINT
            if at_once:
                self.should_exit = True
            else:
                loop = asyncio.get_running_loop()
                loop.call_soon_threadsafe(loop.call_later, settings.drain_delay_s, stop)

    config = uvicorn.Config(
        create_app(hal),
        log_config=None,
        access_log=False,
        server_header=False,
        http=patient(settings.header_timeout_s),
    )
    # Declared as whole seconds, but only given to asyncio.wait_for.
    config.timeout_graceful_shutdown = cast("int", settings.drain_s - settings.drain_delay_s - last_wait_s(settings))
    server = Server(config)

    def stop() -> None:
        server.should_exit = True

    hal.on_failure = stop
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda *_: hal.request_reload())
    _announce(settings, hal.bundle, listener)
    # What lives as long as the process (modules, routes, models of the documentation) is not looked through again by
    # every full collection, which would stop all requests for milliseconds.
    gc.collect()
    gc.freeze()
    server.run(sockets=[listener])


def _run_processes(settings: "Settings", bundle: "Bundle", listener: socket.socket) -> None:
    """HAL_HTTP_WORKERS: what is found out early with one process is found out here, before others are started."""
    from service import logs
    from service.security import Gate
    from service.workers.parent import serve as serve_in_processes

    logs.configure(settings.log_level, "parent")
    Gate.of(settings)
    _announce(settings, bundle, listener)
    if code := serve_in_processes(settings, bundle, listener):
        raise typer.Exit(code)


def _announce(settings: "Settings", bundle: "Bundle", listener: socket.socket) -> None:
    """Say where the service is, and let clients wait from then on who would be refused until the server runs."""
    listener.listen(_BACKLOG)
    manifest, file = bundle.manifest, bundle.file(settings.precision)
    host, port, *_ = _address(listener)
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    typer.echo(
        f"HAL {manifest.name} {manifest.version} ({file.precision}, SHA-256 {file.sha256})\n"
        f"HAL_DEVICE={settings.device}. {manifest.intended_use}\n"
        f"Listening on {url}, where a page takes images; {url}/docs has the API. Try:\n"
        f"  curl -F file=@tests/data/cells/segmented-neutrophil-1.jpg {url}/classify"
    )
    sys.stdout.flush()


def _address(listener: socket.socket) -> tuple[Any, ...]:
    return tuple(listener.getsockname())
