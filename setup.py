"""Put the data folders beside `app` into the wheel. Everything else is in pyproject.toml."""

import shutil
from pathlib import Path

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
DATA = ("models", "static", "templates", "translations", "CITATION.cff", "gunicorn.conf.py")


def copy_data(package: Path) -> None:
    """Copy the data to where app/paths.py finds it in an installed package; compile catalogs."""
    for name in DATA:
        source, target = ROOT / name, package / name
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copy(source, target)
    for catalog in package.glob("translations/**/*.po"):
        with catalog.open("rb") as text, catalog.with_suffix(".mo").open("wb") as compiled:
            write_mo(compiled, read_po(text))


class BuildPy(build_py):
    """Build the packages, and the data as part of `app`."""

    def run(self) -> None:
        """Build."""
        if self.editable_mode:
            super().run()
            return
        # A previous build may have left modules that no longer exist.
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        copy_data(Path(self.build_lib) / "app")


if __name__ == "__main__":
    setup(cmdclass={"build_py": BuildPy})
