"""Each shell command of the READMEs is run by tests/fresh.sh, in a quarter of an hour; here, that none is left out."""

from __future__ import annotations

import ast
import inspect

import drive


def test_the_trial_on_a_fresh_debian_runs_each_command_of_the_readmes() -> None:
    readme = drive.Readme()
    assert len(readme.left) > 40
    for node in ast.walk(ast.parse(inspect.getsource(drive))):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("readme.block", "readme.line")):
            (beginning,) = node.args
            assert isinstance(beginning, ast.Constant)
            assert ast.unparse(node.func).split(".")[-1] in ("block", "line")
            getattr(readme, ast.unparse(node.func).split(".")[-1])(beginning.value)
    assert readme.left == set()
