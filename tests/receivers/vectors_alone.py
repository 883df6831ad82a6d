"""Prints what the verifier (the first argument) says of each vector (the second), as a JSON list; relay is not here."""

import importlib.util
import json
import sys
from pathlib import Path

spec = importlib.util.spec_from_file_location("verifier", sys.argv[1])
assert spec is not None
assert spec.loader is not None
verifier = importlib.util.module_from_spec(spec)
spec.loader.exec_module(verifier)


def say(one: dict[str, object]) -> str:
    try:
        verifier.verify(one["keys"], one["headers"], str(one["body"]).encode(), now=one["now"])
    except verifier.Refused as refused:
        return str(refused.reason)
    return "ok"


print(json.dumps([say(one) for one in json.loads(Path(sys.argv[2]).read_text())]))
