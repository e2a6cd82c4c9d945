"""The zoo: what is pruned to see that any model can be. `all_entries` lists it without importing a model library."""

from .entry import Entry


def all_entries() -> tuple[Entry, ...]:
    """Returns every model, in the order of the table."""
    from . import patterns, timm_models, torchvision_models, transformers_models

    return (*patterns.ENTRIES, *torchvision_models.ENTRIES, *timm_models.ENTRIES, *transformers_models.ENTRIES)
