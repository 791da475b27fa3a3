from importlinter import cli


def test_imports_go_one_way() -> None:
    assert cli.lint_imports(no_cache=True, is_debug_mode=False) == cli.EXIT_STATUS_SUCCESS
