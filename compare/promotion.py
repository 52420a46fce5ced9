"""--promote: the candidate gets an alias, if nothing speaks against it."""

from classifier.registry import Registry
from compare.drawing import Drawn
from compare.registered import registered


def promote(drawn: Drawn, alias: str) -> str:
    """What was done, in words: the alias moves on the verdict `pass` alone.

    Of an int8 form the base moves: the registry has no other entry. StoreUnavailable,
    UnknownModel or UnknownVersion where the store is not the one that is served.
    """
    candidate = drawn.record.b
    if drawn.verdict.name != "pass":
        return (
            f"@{alias} was not moved to v{candidate.number}: the verdict is "
            f"{drawn.verdict.name.replace('_', ' ')}"
        )
    registry = Registry()
    version = registered(registry, candidate)
    entry = version.base or version
    before = [v.number for v in registry.versions(entry.model) if alias in v.aliases]
    if before == [entry.number]:
        return f"@{alias} is v{entry.number} already"
    registry.set_alias(entry.model, alias, entry.number)
    form = f" (of which v{version.number} is a form)" if version.base else ""
    came = f", it was v{before[0]}" if before else ""
    return f"@{alias} of {entry.model} is now v{entry.number}{form}{came}"
