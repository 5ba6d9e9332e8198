"""
Generate cluster/kubelet/generated/ from cri.proto: `python -m cluster.kubelet.build_protos`.

A build step (`make setup`); needs grpcio-tools, which hosts do not have.
"""

from pathlib import Path

HERE = Path(__file__).parent


def build() -> Path:
    """Write generated/cri_pb2.py; returns its path. Raises RuntimeError when the compiler refuses the file."""
    from grpc_tools import protoc  # heavy, and absent on hosts

    target = HERE / "generated"
    target.mkdir(exist_ok=True)
    (target / "__init__.py").write_text("")
    code = protoc.main(["protoc", f"--proto_path={HERE}", f"--python_out={target}", str(HERE / "cri.proto")])
    if code != 0:
        raise RuntimeError(f"protoc refused {HERE / 'cri.proto'} with exit code {code}; its message is above")
    return target / "cri_pb2.py"


if __name__ == "__main__":
    build()
