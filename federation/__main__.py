"""`federate …`: the federation operator's entry point."""

from federation import dns_commands, member_commands, object_commands, token_commands
from federation.cli import federate


def main() -> None:
    """The entry point."""
    federate(prog_name="federate")


__all__ = ["dns_commands", "federate", "main", "member_commands", "object_commands", "token_commands"]

if __name__ == "__main__":
    main()
