"""`federate …`: the federation operator's entry point. This release has no commands of it yet."""

import click


@click.group(no_args_is_help=True)
@click.version_option(package_name="hanse", prog_name="federate")
def federate() -> None:
    """Federate clusters behind one API. This release cannot do so yet: it provisions single clusters (`provision`)."""


def main() -> None:
    """The entry point."""
    federate(prog_name="federate")


if __name__ == "__main__":
    main()
