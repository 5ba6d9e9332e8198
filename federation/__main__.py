"""`federate …`: the federation operator's entry point."""

from federation.cli import federate


def main() -> None:
    """The entry point."""
    federate(prog_name="federate")


if __name__ == "__main__":
    main()
