"""How to compress a model: the schema, and reading it."""

from dsformer.recipe.recipe import Recipe as Recipe
from dsformer.recipe.recipe import load_recipe as load_recipe
from dsformer.recipe.recipe import read_recipe as read_recipe
