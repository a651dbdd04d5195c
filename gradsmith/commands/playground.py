"""`gradsmith playground`: a page to type definitions on."""

from __future__ import annotations

import click


@click.command(short_help="Type a definition in a browser, and see its gradient as you type.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8765,
    show_default=True,
    help="0: any that is free.",
)
@click.option("--open", "show", is_flag=True, help="Open the page in a browser.")
def command(port: int, show: bool) -> None:
    """Serve a page on which a definition is typed in index notation.

    It shows the derivation, the LaTeX to copy and the PyTorch code as you type, and where a
    mistake is. This machine alone can reach it. A definition that takes more than ten seconds is
    given up.
    """
    import signal

    from derive import library
    from derive.printing.writing import definition_text
    from gradsmith.errors import UserError
    from gradsmith.pages import html
    from gradsmith.playground import Server, Worker

    def known(definition: object) -> bool:
        return True

    examples = {name: definition_text(library.load(name), known) for name in library.names()}
    worker = Worker()
    try:
        try:
            server = Server(port, html.playground(examples), worker)
        except OSError as error:
            raise UserError(f"port {port} cannot be used: {error.strerror}; try --port 0") from None
        with server:
            click.echo(server.address)
            click.echo("Ctrl-C ends it", err=True)
            if show:
                click.launch(server.address)
            try:
                signal.signal(signal.SIGTERM, signal.default_int_handler)  # the worker ends too
                server.serve_forever()
            except KeyboardInterrupt:
                click.echo("", err=True)
    finally:
        worker.close()
