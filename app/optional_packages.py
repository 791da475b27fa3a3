"""Report missing optional packages."""


def explain_missing(what: str, error: ImportError) -> str:
    """Name the missing package and the command that installs it."""
    return (
        f"{what[0].upper()}{what[1:]} needs {error.name}, which is not installed here. "
        "Install it with: python -m pip install -r requirements/archive.txt (or 'raut[archive]')"
    )
