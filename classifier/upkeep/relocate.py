"""`relocate`: mends a store that was moved, in whose database the old places stand."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from classifier.console.exits import WrongUsage
from classifier.console.text import printable
from classifier.store.location import is_remote, store_folder, store_uri
from classifier.upkeep.prune import NotConfirmed

if TYPE_CHECKING:
    from classifier.store.maintenance.places import Change


class CannotRelocate(WrongUsage):
    """The store is not reached by its database, or the folders do not fit."""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "relocate",
        help="mend a store that was moved to another folder",
        description="Correct the absolute places in the database of a store that was "
        "moved: of experiments, runs, logged models and versions. Without FROM and TO "
        "the old folder is found by the files in mlruns/ beside mlflow.db. All changes "
        "are one transaction.",
        epilog="examples:\n"
        "  python -m classifier relocate --dry-run\n"
        "  python -m classifier relocate --yes\n"
        "  python -m classifier relocate /home/ana/flipside /srv/flipside --yes\n\n"
        "exit codes: 0 done, or nothing to do; 2 wrong usage (also: --yes is missing, "
        "or the store is a server); 3 not now (store)",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("folders", nargs="*", metavar="FROM TO", help="old, new folder")
    parser.add_argument("--dry-run", action="store_true", help="only show")
    parser.add_argument("--yes", action="store_true", help="change what is shown")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    uri = store_uri()
    if is_remote(uri):
        raise CannotRelocate(
            f"{uri} is a server, which does not show the places in its database; run "
            f"this where its database is, with MLFLOW_TRACKING_URI=postgresql://… or "
            f"sqlite:///…"
        )
    moves = _given_moves(arguments.folders)
    from classifier.store.calls import store_call
    from classifier.store.maintenance import places
    from classifier.store.registry import Registry

    uri = Registry().uri  # checks the schema
    engine = places.open_database(uri)
    try:
        with store_call(f"change the places in {uri}"), engine.begin() as connection:
            found = places.read_places(connection)
            known = [old for place in found for _, old, _ in place.rows]
            moves = moves or places.find_moves(known, store_folder(uri))
            changes = places.with_moves(found, moves)
            _show(changes, moves)
            if arguments.yes and not arguments.dry_run:
                places.write_places(connection, changes)
    finally:
        engine.dispose()
    if not changes or arguments.dry_run:
        return 0
    if not arguments.yes:
        raise NotConfirmed("nothing was changed; add --yes to change it")
    print("changed")
    return 0


def _given_moves(folders: Sequence[str]) -> dict[str, str]:
    """Raises CannotRelocate for one folder, three, or a new one that is not there."""
    if not folders:
        return {}
    if len(folders) != 2:
        raise CannotRelocate(
            f"{len(folders)} folders were named; name FROM and TO, or neither"
        )
    old, new = (_plain(folder) for folder in folders)
    if "://" not in new and not Path(new).is_dir():
        raise CannotRelocate(
            f"there is no folder {new}; move the files first, and run this where they "
            f"are"
        )
    return {} if old == new else {old: new}


def _plain(folder: str) -> str:
    if "://" in folder:
        return folder.rstrip("/")
    return str(Path(folder).absolute())


def _show(changes: Sequence["Change"], moves: Mapping[str, str]) -> None:
    from classifier.store.maintenance.places import local_path

    if not changes:
        print("nothing to change: no place is in another folder")
        return
    for old, new in moves.items():
        print(f"{printable(old)} -> {printable(new)}")
    for change in changes:
        print(f"  {len(change.rows):5} {change.name}")
    paths = {local_path(new) for change in changes for _, _, new in change.rows}
    absent = [str(path) for path in paths if path is not None and not path.exists()]
    if absent:
        print(
            f"{len(absent)} of the new places do not exist (an experiment or run "
            f"without files has none), such as {printable(min(absent))}"
        )
