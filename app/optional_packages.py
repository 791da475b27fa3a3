"""Tell of packages that only some uses need."""


def explain_missing(what: str, error: ImportError) -> str:
    """Say that something needs a package which isn't installed, and how to install it."""
    return (
        f"{what[0].upper()}{what[1:]} needs {error.name}, which is not installed here. "
        "Install it by: python -m pip install -r requirements/archive.txt"
    )
