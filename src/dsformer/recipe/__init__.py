"""The recipe: one schema of every setting of a compression, with its validation.

May import ``training``, ``factorization``, ``calibration`` and the packages below them, whose configurations it puts
together; ``allocation``, ``report``, ``pipeline`` and the command line read it. ``recipe`` holds ``Recipe``, what its
fields may be together, and how YAML is read. ``stages`` holds the stages that a recipe can list, and their order. The
same fields are keyword arguments of ``compress``, entries of a YAML file and flags of the command line. Start reading
at ``recipe.Recipe``.
"""

from dsformer.recipe.recipe import Recipe as Recipe
from dsformer.recipe.recipe import load_recipe as load_recipe
from dsformer.recipe.recipe import read_recipe as read_recipe
