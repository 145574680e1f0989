"""Everything that can be chosen about a model, and how the choices become its parts."""

from suffuse.recipes.recipe import Recipe

__all__ = ["Recipe"]
