"""Serves an index on an address of this machine."""

from __future__ import annotations

import errno
import logging
import signal
import socket
import threading
from pathlib import Path

from udonx.common.extras import import_extra
from udonx.common.words import display_path, plural
from udonx.serving.errors import ServeError
from udonx.serving.limits import Limits
from udonx.serving.traffic import Traffic

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
PORT = 8000
_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
_PATIENCE = 5  # seconds that requests under way have at the end


def serve(
    index: str | Path,
    *,
    host: str = LOOPBACK,
    port: int = PORT,
    model: str | Path | None = None,
    weights: str | Path | None = None,
    device: str | None = None,
    limits: Limits | None = None,
) -> Traffic:
    """Serve a page and an HTTP API over an index until SIGINT or SIGTERM.

    Args:
        index: the folder of an index.
        host: the address that it listens on; others than that of this machine let anybody who
            reaches it look at the images.
        port: 0 for any that is free.
        model: what embeds pictures; default: where the index says that its model lies.
        weights: the folder where start weights of backbones are looked up first.
        device: where it computes; default: the GPU where there is one.
        limits: of requests.

    Returns:
        What was asked of it.

    Raises:
        MissingExtraError: the packages of udonx[serve] are not installed.
        ServeError: the address cannot be listened on.
        VectorsError: it is no index, or the model is another.

    Example:
        udonx.serve("photos.index", port=8080)
    """
    uvicorn = import_extra("uvicorn", "serve", "udonx serve")
    import_extra("fastapi", "serve", "udonx serve")
    limits = limits or Limits()
    with listen(host, port) as listener:
        # these take seconds to import: what is wrong with the address is told before
        from udonx.engine.device import choose
        from udonx.engine.loaded_model import LoadedModel
        from udonx.search.index import Index
        from udonx.serving.app import make_app
        from udonx.serving.searcher import Searcher

        opened = Index.load(index)
        source = model or opened.model.source
        if not source:
            raise ServeError(f"{display_path(Path(index))} does not name its model: give --model")
        loaded = LoadedModel(source, choose(device), weights=weights)
        traffic, names = Traffic(), [*_LOCAL_NAMES, host]
        app = make_app(
            Searcher(opened, loaded), limits, traffic, names if host == LOOPBACK else ["*"]
        )
        address = f"http://{host}:{listener.getsockname()[1]}"
        logger.info(f"serving {plural(len(opened), 'image')} at {address}; Ctrl-C ends it")
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=_PATIENCE,
                server_header=False,
            )
        )
        _run(server, listener)
    logger.info(str(traffic))
    return traffic


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on an address.

    Raises:
        ServeError: the port is in use, or the address is none of this machine's.
    """
    if not 0 <= port <= 65535:
        raise ServeError(f"--port: got {port}, allowed is 0 to 65535")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=128)
    except socket.gaierror as error:
        raise ServeError(f"--host: got '{host}', which is no address ({error.strerror})") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            message = f"--port: {port} of {host} is in use; give another one, or 0 for any"
        else:
            message = f"--host: cannot listen on {host}:{port} ({error.strerror})"
        raise ServeError(message) from error


def _run(server, listener: socket.socket) -> None:  # type: ignore[no-untyped-def]
    """Run until a signal comes, which is the ordinary end.

    uvicorn ends well at the first signal, and then raises it again for whoever called.
    """
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if main else None
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)
