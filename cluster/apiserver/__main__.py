"""`python -m cluster.apiserver --etcd-servers=…`: run the apiserver."""

import sys

from cluster.apiserver import process

if __name__ == "__main__":
    sys.exit(process.run(sys.argv[1:]))
