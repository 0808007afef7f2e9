"""Record what must not change: `python -m tests.golden.record keys` or `... store`, in the root of the repository.

Record keys anew only for studies that were changed or added on purpose. A store is recorded once for good: it stands
for those that users have, so a new one gets a name of its own.
"""

from __future__ import annotations

import json
import sys

from tests.golden import fingerprints


def keys() -> None:
    """Write the fingerprints of all studies."""
    found = {name: fingerprints.fingerprint(path) for name, path in fingerprints.studies().items()}
    fingerprints.RECORDED.write_text(json.dumps(found, indent=1) + "\n")


def main(what: list[str]) -> None:
    """Record what is asked for."""
    from tests.golden import old_store

    tasks = {"keys": keys, "store": old_store.record}
    if len(what) != 1 or what[0] not in tasks:
        sys.exit(__doc__)
    tasks[what[0]]()


if __name__ == "__main__":
    main(sys.argv[1:])
