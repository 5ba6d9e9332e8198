"""
Build step: `python -m cluster.store.build_protos` makes generated/etcd_pb2.py from etcd.proto.

Runs where the project is built (needs grpcio-tools); hosts get the result. Safe to run again.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent


def build() -> Path:
    """Returns the generated module's path. Raises RuntimeError with protoc's exit code when it refuses."""
    from grpc_tools import protoc

    out = HERE / "generated"
    out.mkdir(exist_ok=True)
    (out / "__init__.py").touch()
    code = protoc.main(["protoc", f"--proto_path={HERE}", f"--python_out={out}", str(HERE / "etcd.proto")])
    if code != 0:
        raise RuntimeError(f"protoc ended with {code} on {HERE / 'etcd.proto'}; its message is above")
    return out / "etcd_pb2.py"


if __name__ == "__main__":
    sys.stdout.write(f"{build()}\n")
