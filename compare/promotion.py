"""--promote: the candidate gets an alias, if nothing speaks against it."""

from classifier.registry import Registry
from compare.drawing import Drawn
from compare.registered import registered


def promote(drawn: Drawn, alias: str) -> str:
    """What was done, in words: the alias moves on the verdict `pass` alone.

    UnknownVersion for an int8 form, which no alias can name. StoreUnavailable,
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
    before = [v.number for v in registry.versions(version.model) if alias in v.aliases]
    if before == [version.number]:
        return f"@{alias} is v{version.number} already"
    registry.set_alias(version.model, alias, version.number)
    came = f", it was v{before[0]}" if before else ""
    return f"@{alias} of {version.model} is now v{version.number}{came}"
