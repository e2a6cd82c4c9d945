"""The zoo: what is pruned to see that any model can be. `all_entries` lists it without importing a model library."""

from .entry import Entry


def all_entries() -> tuple[Entry, ...]:
    """Returns every model, in the order of the table."""
    from . import patterns, strangers, timm_models, torchvision_models, transformers_models

    libraries = (torchvision_models, timm_models, transformers_models)
    return tuple(entry for listed in (patterns, strangers, *libraries) for entry in listed.ENTRIES)
