"""Runs mutmut: makes each change of pyproject.toml's modules ([tool.mutmut]), and runs the tests that reach it.

The tests that read Moodle's log use one MariaDB, which is started here: to start one for each change would take longer
than the tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from relay.demo.mariadb import throwaway

MUTMUT = str(Path(sys.executable).with_name("mutmut"))
#: The tests of these make the same schema on the same server: one change at a time.
ONE_AT_A_TIME = "relay.capture."


def main() -> int:
    """Return mutmut's exit code; what follows on the command line goes to it."""
    settings = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["tool"]["mutmut"]
    modules = [path.removesuffix(".py").replace("/", ".") + ".*" for path in settings["only_mutate"]]
    alone = [name for name in modules if name.startswith(ONE_AT_A_TIME)]
    with throwaway(["--innodb-flush-log-at-trx-commit=0"]) as server:
        environment = {**os.environ, "PYTEST_ADDOPTS": f"--server {server.port}"}
        others = [name for name in modules if name not in alone]
        for names, words in ((others, []), (alone, ["--max-children", "1"])):
            # Without a name, mutmut would try all modules.
            if not names:
                continue
            done = subprocess.run([MUTMUT, "run", *sys.argv[1:], *words, *names], check=False, env=environment)
            if done.returncode:
                return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
