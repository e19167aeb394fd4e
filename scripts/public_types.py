"""Every type of the public names is known to pyright: no unknown type reaches whoever uses them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

COMMAND = ["pyright", "--pythonpath", sys.executable, "--verifytypes", "sillar", "--ignoreexternal", "--outputjson"]


INTERNAL = re.compile(r"sillar\.engines\.(postgresql|mysql|mongodb|sqlite)\.(?!adapter\.)")
"""What lies behind an engine's adapter subclasses drivers that have no types of their own."""


def main() -> int:
    environment = os.environ | {"PYTHONPATH": "src"}  # pyright does not look into an editable install otherwise
    answer = subprocess.run(COMMAND, capture_output=True, text=True, check=False, env=environment)
    symbols = json.loads(answer.stdout)["typeCompleteness"]["symbols"]
    public = [each for each in symbols if each["isExported"] and not INTERNAL.match(each["name"])]
    unknown = [each for each in public if not each["isTypeKnown"] and not each["isTypeAmbiguous"]]
    print(f"public symbols: {len(public)}, of unknown type: {len(unknown)}")
    for symbol in unknown:
        print(f"  {symbol['name']}: {'; '.join(each['message'] for each in symbol['diagnostics'])}")
    return 1 if unknown or not public else 0


if __name__ == "__main__":
    sys.exit(main())
