"""The folder of migration files: Alembic's, for every engine."""

from __future__ import annotations

import hashlib
import re
import shutil
import tokenize
import warnings
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NoReturn

import alembic.script.revision
from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from alembic.script.revision import CycleDetected, MultipleHeads, ResolutionError, RevisionError
from alembic.util import CommandError, rev_id

from sillar.errors import DatabaseError, MigrationFileError
from sillar.migrations.migration import Migration

_TEMPLATES: Final = Path(__file__).parent / "templates"
_HEADER_BYTES: Final = 16
"""At the beginning of a compiled file: when and what from it was compiled."""
_INI: Final = "alembic.ini"
_PYPROJECT: Final = "pyproject.toml"
_COMMENT: Final = re.compile(r"^\s*#")


class Scripts:
    """The migration files of one database, and the graph they make.

    Args:
        folder: where they are; an Alembic folder (``env.py``, ``versions/``), adopted or of ``sillar init``.
        alembic_ini: its ``alembic.ini``, or a ``pyproject.toml`` with ``[tool.alembic]``; None: the one in the folder,
            beside it or in the working directory that names the folder. A ``pyproject.toml`` beside an ``alembic.ini``
            counts, too.
        arguments: for an ``env.py`` that asks for them (``alembic -x name=value``).

    Raises:
        MigrationFileError: there is no such folder.
    """

    def __init__(self, folder: Path, alembic_ini: Path | None = None, arguments: Sequence[str] = ()) -> None:
        self.folder = folder
        self.arguments = tuple(arguments)
        self.alembic_ini = alembic_ini if alembic_ini is not None else _ini_of(folder)
        if self.alembic_ini is not None and not self.alembic_ini.is_file():
            raise MigrationFileError(f"there is no file {self.alembic_ini}: correct migration_config.alembic_ini")
        config = self.new_config()
        location = config.get_alembic_option("script_location")
        if location is None:
            raise MigrationFileError(f"{self.alembic_ini} has no script_location: name the folder of the migrations")
        self.directory: ScriptDirectory = _directory(config, location)
        self.folder = Path(self.directory.dir)

    def new_config(self) -> Config:
        """Alembic's configuration for one run; what is put into it stays there."""
        config = _config(
            self.alembic_ini,
            output_buffer=_Nowhere(),
            cmd_opts=Namespace(quiet=True, x=list(self.arguments)),
        )
        if self.alembic_ini is None:
            config.set_main_option("script_location", str(self.folder).replace("%", "%%"))
        return config

    @classmethod
    def create(cls, folder: Path, kind: str) -> list[Path]:
        """Make a folder as ``sillar init`` does; returns the files written.

        Args:
            folder: which must not be there, or be empty.
            kind: of the template: ``sql`` or ``mongodb``.

        Raises:
            MigrationFileError: there is something in the folder.
        """
        if folder.is_dir() and any(folder.iterdir()):
            raise MigrationFileError(f"{folder} is not empty: choose another folder, or use what is there as it is")
        (folder / "versions").mkdir(parents=True, exist_ok=True)
        written = []
        for file in sorted((_TEMPLATES / kind).iterdir()):
            if file.name == "alembic.ini":
                ini = folder.parent / file.name
                target = folder / file.name if ini.exists() else ini
                location = "%(here)s" if target.parent == folder else f"%(here)s/{folder.name}"
                target.write_text(file.read_text(encoding="utf-8").replace("{folder}", location), encoding="utf-8")
            elif file.is_file():
                target = folder / file.name
                shutil.copyfile(file, target)
            else:
                continue
            written.append(target)
        return written

    # --- the graph ----------------------------------------------------------------------------------------------------

    def heads(self) -> tuple[str, ...]:
        """The revisions that nothing follows."""
        with reading(self):
            return tuple(self.directory.get_heads())

    def unjoined(self) -> tuple[str, ...]:
        """The heads, where there are several that are not meant to be: lines with branch labels of their own are."""
        with reading(self):
            labels = {head: set(self.directory.get_revision(head).branch_labels) for head in self.directory.get_heads()}
        counted = Counter(label for found in labels.values() for label in found)
        apart = all(any(counted[label] == 1 for label in found) for found in labels.values())
        return () if apart or len(labels) < 2 else tuple(labels)

    def migrations(self, upper: str | Sequence[str] = "heads") -> list[Migration]:
        """All migrations up to a revision, first ones first."""
        with reading(self):
            found = list(self.directory.iterate_revisions(upper if isinstance(upper, str) else tuple(upper), "base"))
        return [self.migration(script) for script in reversed(found)]

    def get(self, version: str) -> Migration:
        """One migration, by its identifier or the beginning of it, ``head``, or ``head-1``.

        Raises:
            MigrationFileError: there is none, or several.
        """
        return self.migration(self.script(version))

    def script(self, version: str) -> Script:
        """Alembic's own object for one migration file."""
        with reading(self):
            script: Script | None = self.directory.get_revision(version)
        if script is None:
            raise MigrationFileError(f"{version!r} is no migration of {self.folder}")
        return script

    def lineage(self, versions: Iterable[str]) -> set[str]:
        """These revisions and everything that they follow."""
        with reading(self):
            revisions = self.directory.revision_map
            found = revisions._get_ancestor_nodes(revisions.get_revisions(tuple(versions)))
            return {script.revision for script in found}

    def pending(self, current: Sequence[str], target: str = "heads") -> list[Migration]:
        """What is to be applied from the revisions of a database up to a target, in order."""
        with reading(self, current):
            steps = self.directory._upgrade_revs(target, tuple(current))  # type: ignore[arg-type]
            return [self.migration(step.revision) for step in steps]

    def undone(self, current: Sequence[str], target: str) -> list[Migration]:
        """What is to be undone from the revisions of a database down to a target, in order."""
        with reading(self, current):
            steps = self.directory._downgrade_revs(target, tuple(current))  # type: ignore[arg-type]
            return [self.migration(step.revision) for step in steps]

    def unknown(self, versions: Iterable[str]) -> list[str]:
        """Of these, those that no file here has."""
        known = {migration.version for migration in self.migrations()}
        return [version for version in versions if version not in known]

    def migration(self, script: Script) -> Migration:
        """The migration in a file."""
        path = Path(script.path)
        return Migration(
            script.doc or script.revision,
            script.revision,
            down_versions=tuple(script._versioned_down_revisions),
            path=path,
            checksum=checksum(path),
        )

    # --- new files ----------------------------------------------------------------------------------------------------

    def write(
        self,
        message: str,
        *,
        version: str | None = None,
        head: str | Sequence[str] | None = None,
        splice: bool = False,
        upgrade_text: str = "",
        downgrade_text: str = "",
        imports_text: str = "",
        **options: Any,
    ) -> Migration:
        """Write one new migration file from the folder's template.

        Args:
            message: what it does, in a line.
            version: its identifier; None: a new one.
            head: what it follows: None: the only head; several: it merges them.
            splice: it may follow something that is no head.
            upgrade_text, downgrade_text, imports_text: the bodies, indented by four spaces after their first line.
            options: for Alembic: ``branch_labels``, ``depends_on``, ``version_path``.

        Raises:
            MigrationFileError: the head is none, or there are several.
        """
        with reading(self):
            script = self.directory.generate_revision(
                version or rev_id(),
                message,
                head=head if head is None or isinstance(head, str) else tuple(head),
                splice=splice,
                refresh=True,
                upgrades=upgrade_text,
                downgrades=downgrade_text,
                imports=imports_text,
                **options,
            )
        assert script is not None  # None is for revisions without a file
        return self.migration(script)


def checksum(path: Path) -> str:
    """SHA-256 of a migration file without its comments, blank lines and trailing blanks: what it does."""
    lines = source_of(path).splitlines()
    kept = [line.rstrip() for line in lines if line.strip() and not _COMMENT.match(line)]
    return hashlib.sha256("\n".join(kept).encode()).hexdigest()


def source_of(path: Path) -> str:
    """The text of a migration file, in the encoding that it declares; of a compiled one, its bytes as they stand."""
    if path.suffix != ".py":
        return path.read_bytes()[_HEADER_BYTES:].decode("latin-1")
    with tokenize.open(path) as file:
        return file.read()


@contextmanager
def reading(scripts: Scripts, current: Sequence[str] = ()) -> Iterator[None]:
    """Within the block, what is wrong with the files is told as it is, with the remedy.

    Args:
        scripts: the folder.
        current: the revisions of the database, where they are known.
    """
    with telling(scripts, current), warnings.catch_warnings():
        warnings.filterwarnings("error", category=UserWarning, message="(?s).*Revision")
        yield


@contextmanager
def telling(scripts: Scripts, current: Sequence[str] = ()) -> Iterator[None]:
    """The same within a block that waits for others: what Python has for the whole process is left alone."""
    try:
        yield
    except DatabaseError:
        raise
    except (CommandError, RevisionError) as error:
        raise MigrationFileError(_said(scripts, error, current)) from error
    except UserWarning as error:
        raise MigrationFileError(_warned(scripts, str(error))) from error
    except (KeyError, AssertionError) as error:
        if not _is_of_graph(error):
            _raise_placed(scripts, error)
        if isinstance(error, AssertionError):
            raise MigrationFileError(f"{scripts.folder}: that many steps lead nowhere from where it is") from error
        raise MigrationFileError(
            f"{scripts.folder}: a migration follows {error.args[0]!r}, and no file has that revision: restore the file,"
            " or correct down_revision"
        ) from error
    except Exception as error:
        _raise_placed(scripts, error)


def _raise_placed(scripts: Scripts, error: Exception) -> NoReturn:
    place = _place(scripts, error)
    if place is None:
        raise error
    raise MigrationFileError(
        f"{place} cannot be read: {type(error).__name__}: {error}; correct the file, nothing was run"
    ) from error


def _is_of_graph(error: Exception) -> bool:
    """Whether it is Alembic's own, about the graph of the files."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and Path(trace.tb_frame.f_code.co_filename) == Path(alembic.script.revision.__file__)


def _said(scripts: Scripts, error: Exception, current: Sequence[str]) -> str:
    cause = error if isinstance(error, RevisionError) else error.__cause__
    folder = scripts.folder
    if isinstance(cause, CycleDetected):
        return (
            f"{folder}: these revisions follow each other in a circle: {', '.join(cause.revisions)}; correct"
            " down_revision in one of them"
        )
    if isinstance(cause, MultipleHeads):
        heads = ", ".join(cause.heads)
        return (
            f"{folder} has several heads: {heads}; join them with `sillar merge heads`, or name one as the target, or"
            " all with `heads`"
        )
    if isinstance(cause, ResolutionError):
        wanted = str(cause.argument)
        if wanted in current:
            return (
                f"the database is at {wanted}, and no file in {folder} has that revision: deploy the files that it was"
                " migrated with, or `sillar stamp --purge` a revision that is here"
            )
        known = [each.stem.partition("_")[0] for each in folder.glob("versions/**/*.py")]
        near = get_close_matches(wanted, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else "; `sillar history` lists them"
        return f"there is no revision {wanted!r} in {folder}{hint}"
    return f"{folder}: {error}"


def _warned(scripts: Scripts, text: str) -> str:
    if "present more than once" in text:
        return f"{scripts.folder}: {text}: give one of the files another revision"
    return f"{scripts.folder}: {text}: restore the file, or correct down_revision"


def _place(scripts: Scripts, error: Exception) -> str | None:
    """Where in a migration file an error came from: ``file:line``; None where it is none of the files."""
    folder = str(scripts.folder.resolve())
    if isinstance(error, SyntaxError) and error.filename and str(Path(error.filename).resolve()).startswith(folder):
        return f"{error.filename}:{error.lineno}"
    found = None
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if str(Path(name).resolve()).startswith(folder):
            found = f"{name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


def _ini_of(folder: Path) -> Path | None:
    inside = folder / _INI
    if inside.is_file():
        return inside
    places = dict.fromkeys((folder.parent, Path()))
    for file in (place / name for place in places for name in (_INI, _PYPROJECT)):
        if file.is_file() and _names(file, folder):
            return file
    return None


def _names(file: Path, folder: Path) -> bool:
    """Whether a configuration is that of a folder."""
    try:
        config = _config(file)
        location = config.get_alembic_option("script_location")
        return location is not None and Path(_directory(config, location).dir).resolve() == folder.resolve()
    except (CommandError, MigrationFileError):  # another's, or none of Alembic's
        return False


def _config(file: Path | None, **options: Any) -> Config:
    if file is not None and file.suffix == ".toml":
        return Config(toml_file=str(file), **options)
    beside = None if file is None else file.parent / _PYPROJECT
    toml = str(beside) if beside is not None and beside.is_file() else None
    return Config(None if file is None else str(file), toml_file=toml, **options)


def _directory(config: Config, location: str) -> ScriptDirectory:
    """The folder of a configuration, which may be named as a part of a package (``package:folder``)."""
    try:
        return ScriptDirectory.from_config(config)
    except (CommandError, ModuleNotFoundError) as error:
        if isinstance(error, CommandError) and Path(location).is_dir():
            raise
        raise MigrationFileError(
            f"there is no folder {location}: make it with `sillar init`, or correct migration_config.directory"
        ) from error


class _Nowhere:
    """Takes what Alembic would print."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        return None


__all__ = ["Scripts", "checksum", "reading", "source_of", "telling"]
