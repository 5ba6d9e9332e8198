"""`python -m cluster.apiserver --etcd-servers=…`: run the apiserver."""

import gc
import logging
import sys

import uvloop

from cluster.apiserver import options


def main() -> int:
    gc.disable()  # what imports leave behind is little, and looking for it would take a tenth of the start
    parsed = options.parse(sys.argv[1:])
    logging.basicConfig(
        level=logging.DEBUG if parsed.verbosity >= 4 else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    from cluster.apiserver import app

    # Objects live long here and are no cycles; frequent full collections would only cost time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    gc.enable()
    failed = False
    try:
        uvloop.run(app.serve(parsed))
    except* (OSError, ValueError) as faults:
        failed = True
        for fault in faults.exceptions:
            sys.stderr.write(f"kube-apiserver cannot run: {fault}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
