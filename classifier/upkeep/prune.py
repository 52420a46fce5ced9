"""`prune`: frees the disk of versions that no alias, comparison or service needs."""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from classifier.console.exits import WrongUsage
from classifier.console.text import printable
from classifier.storage import megabytes
from classifier.store.versions import Version, typed_name

if TYPE_CHECKING:  # MLflow takes a second
    from classifier.store.maintenance.removal import Shelf, StoredModel

DEFAULT_KEEP = "best,last,aliased"
LEFT_SECONDS = 3600.0
"""Files that are half written and unchanged for this long are nobody's."""

Why = dict[str, list[str]]
"""Why a version is kept, by its number."""


@dataclass(frozen=True)
class Keep:
    """What `--keep` names, besides what is kept always."""

    best: bool = False
    last: int = 0
    """Number of the last versions of each run."""

    every: int = 0
    """Epochs that this number divides; 0 for none."""

    @classmethod
    def read(cls, text: str) -> "Keep":
        """Raises ArgumentTypeError, whose message argparse shows."""
        best, last, every = False, 0, 0
        for word in filter(None, map(str.strip, text.split(","))):
            name, _, number = word.partition("=")
            count = int(number) if number.isdecimal() else 0
            if word == "best":
                best = True
            elif word == "last" or (name == "last" and count):
                last = count or 1
            elif name == "every" and count:
                every = count
            elif word != "aliased":
                raise argparse.ArgumentTypeError(
                    f"must be words of best, last, last=N, every=N and aliased, joined "
                    f"by commas, got {word!r}"
                )
        return cls(best, last, every)

    def reasons(self, versions: Sequence[Version]) -> Why:
        why: Why = defaultdict(list)
        if self.best:
            for number, reason in _best(versions):
                why[number].append(reason)
        for of_run in _grouped(versions, lambda v: v.run_id or v.number).values():
            for version in of_run[len(of_run) - min(self.last, len(of_run)) :]:
                why[version.number].append("last of its run")
        for version in versions:
            epoch = version.epoch
            if self.every and epoch is not None and epoch % self.every == 0:
                why[version.number].append(f"epoch {epoch}")
        return why


def _best(versions: Sequence[Version]) -> Iterable[tuple[str, str]]:
    """Best accuracy and least loss of the versions of each data set; of equals, the
    earliest, as the aliases of training."""
    for rivals in _grouped(versions, lambda v: v.dataset_digest or "").values():
        right = {v.number: a for v in rivals if (a := v.val_top1_accuracy) is not None}
        losses = {v.number: x for v in rivals if (x := v.val_loss) is not None}
        if right:
            yield max(right, key=right.__getitem__), "best accuracy"
        if losses:
            yield min(losses, key=losses.__getitem__), "least loss"


def _grouped(
    versions: Iterable[Version], key: Callable[[Version], str]
) -> Mapping[str, list[Version]]:
    groups: dict[str, list[Version]] = defaultdict(list)
    for version in versions:
        groups[key(version)].append(version)
    return groups


class NotConfirmed(WrongUsage):
    """Nothing was changed, as --yes was not given."""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "prune",
        help="free the disk of versions that nobody needs",
        description="Remove versions with their files and int8 forms. A version that "
        "has an alias, was compared, or is loaded by a service of this machine is "
        "never removed. What would be removed is shown first. Runs, with their curves "
        "and settings, stay.",
        epilog="examples:\n"
        "  python -m classifier prune --dry-run\n"
        "  python -m classifier prune --keep best,last,every=4 --yes\n"
        "  python -m classifier prune --orphans --yes\n\n"
        "exit codes: 0 done, 2 wrong usage (also: --yes is missing), 3 not now (store, "
        "disk)",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--model", metavar="NAME", help="whose versions")
    parser.add_argument(
        "--keep",
        type=Keep.read,
        default=DEFAULT_KEEP,
        metavar="WORDS",
        help="what is kept: best (accuracy and loss, of each data set), last or last=N "
        "(of each run), every=N (epochs), aliased (always kept) (default: %(default)s)",
    )
    parser.add_argument(
        "--orphans",
        action="store_true",
        help="remove instead what interrupted attempts left: logged models to which "
        "nothing refers, files that are half written for an hour; of all models",
    )
    parser.add_argument("--dry-run", action="store_true", help="only show")
    parser.add_argument("--yes", action="store_true", help="remove what is shown")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from classifier.store.maintenance.removal import Shelf
    from classifier.store.registry import Registry

    shelf = Shelf(Registry())
    work = _orphans(shelf) if arguments.orphans else _prune(shelf, arguments)
    if not work or arguments.dry_run:
        return 0
    if not arguments.yes:
        raise NotConfirmed("nothing was removed; add --yes to remove it")
    for step in work:
        step()
    return 0


Work = list[Callable[[], None]]


def _prune(shelf: "Shelf", arguments: argparse.Namespace) -> Work:
    """Show what is kept and what is removed; return the steps that remove it."""
    registry = shelf.registry
    model = registry.model_name(arguments.model)
    versions = registry.versions(model)
    why = arguments.keep.reasons(versions)
    _add_needed(why, shelf, versions)
    removed = shelf.models_of([v for v in versions if not why[v.number]])
    for number, models in removed.items():
        with shelf.unused(models) as is_unused:
            if not is_unused:
                why[number].append("loaded by a service")
    gone = [v for v in versions if not why[v.number]]
    unfinished = shelf.unfinished()
    sizes = _sizes(shelf, [removed[v.number] for v in gone] + [[m] for m in unfinished])
    print(f"{printable(model)} in {registry.uri}: {len(versions)} versions")
    freed = dict(zip((v.number for v in gone), sizes, strict=False))
    for version in versions:
        number = version.number
        if number in freed:
            print(
                f"  remove v{number}  {megabytes(freed[number])}{_with_int8(version)}"
            )
        else:
            print(f"  keep   v{number}  {printable(', '.join(why[number]))}")
    if unfinished:
        print(f"  remove what is left of {len(unfinished)} removed logged models")
    print(f"{len(gone)} versions to remove, which frees {megabytes(sum(sizes))}")
    steps: Work = [partial(_remove_model, shelf, m) for m in unfinished]
    return steps + [partial(_remove, shelf, v, removed[v.number]) for v in gone]


def _with_int8(version: Version) -> str:
    return "  with its int8 form" if version.int8 else ""


def _add_needed(why: Why, shelf: "Shelf", versions: Sequence[Version]) -> None:
    """Why versions are kept whatever --keep says."""
    compared, references = shelf.compared(), shelf.references()
    for version in versions:
        needs = why[version.number]
        needs += [f"@{alias}" for alias in version.aliases]
        if compared.has(version):
            needs.append("compared")
        if version.model_id is None:
            needs.append("not of this project")
        ids = (version.model_id, version.int8 and version.int8.model_id)
        if any(references[model_id] > 1 for model_id in ids if model_id):
            needs.append("shares its files with another version")


def _sizes(shelf: "Shelf", groups: Sequence[Sequence["StoredModel"]]) -> list[int]:
    """Bytes that removing each group of logged models frees, in this order."""
    from classifier.store.maintenance.removal import freed_bytes

    on_disk = [m.whole_folder for models in groups for m in models if m.whole_folder]
    of_folder = dict(zip(on_disk, freed_bytes(on_disk), strict=True))
    return [
        sum(
            of_folder[model.whole_folder] if model.whole_folder else shelf.size(model)
            for model in models
        )
        for models in groups
    ]


def _remove(
    shelf: "Shelf", version: Version, models: Collection["StoredModel"]
) -> None:
    name = typed_name(version.number)
    with shelf.unused(models) as is_unused:
        if not is_unused or shelf.is_wanted_now(version):
            print(f"kept {name}: it is in use by now")
            return
        shelf.remove(version, list(models))
    print(f"removed {name}", flush=True)


def _remove_model(shelf: "Shelf", model: "StoredModel") -> None:
    with shelf.unused([model]) as is_unused:
        if is_unused:
            shelf.remove_model(model)
            print(f"removed logged model {model.model_id}", flush=True)


def _orphans(shelf: "Shelf") -> Work:
    """Show what interrupted attempts left; return the steps that remove it."""
    from classifier.store.maintenance.removal import leftover_files, remove_leftover

    models = []
    for model in shelf.orphans():
        with shelf.unused([model]) as is_unused:
            models += [model] if is_unused else []
    files = leftover_files(shelf.registry, before=time.time() - LEFT_SECONDS)
    sizes = [*_sizes(shelf, [[model] for model in models]), *map(_size, files)]
    for name, size in zip([*(m.model_id for m in models), *files], sizes, strict=True):
        print(f"  remove {printable(str(name))}  {megabytes(size)}")
    print(
        f"{len(models)} logged models to which nothing refers and {len(files)} files "
        f"that are half written to remove, which frees {megabytes(sum(sizes))}"
    )
    steps: Work = [partial(_remove_model, shelf, m) for m in models]
    return steps + [partial(remove_leftover, f) for f in files]


def _size(path: Path) -> int:
    return sum(each.lstat().st_size for each in (path, *path.rglob("*")))
