"""Command-line flags of the recipe's fields, generated from its schema."""

import inspect
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dsformer.cli.options import path_parser
from dsformer.recipe import Recipe
from dsformer.training.config import TrainingConfig

# Prefixes of the flags of nested fields.
PREFIXES = {"calibration": "calibration_", "effort": "", "training": ""}
PANEL = "Recipe"


@dataclass(frozen=True)
class Flag:
    """A recipe field and the command's parameter for it.

    Attributes:
        path: names of the field, from the outermost part of the recipe inwards.
        field: its schema.
    """

    path: tuple[str, ...]
    field: FieldInfo

    @property
    def parameter(self) -> str:
        """Name of the command's parameter."""
        return PREFIXES.get(self.path[0], "") + self.path[-1]

    @property
    def option(self) -> str:
        """Name of the flag."""
        return "--" + self.parameter.replace("_", "-")

    @property
    def kind(self) -> Any:
        """The field's type without None."""
        annotation = self.field.annotation
        if get_origin(annotation) in (Union, UnionType):
            annotation = next(arm for arm in get_args(annotation) if arm is not type(None))
        return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation

    def signature(self) -> inspect.Parameter:
        """Make the parameter: None (or empty) when the flag is not given; only the schema validates values."""
        kind, declared, metavar = self.kind, [self.option], None
        annotation: Any = kind | None
        if kind is bool:
            declared = [f"{self.option}/--no-{self.option.removeprefix('--')}"]
        elif get_origin(kind) is Literal:
            annotation, metavar = str | None, f"[{'|'.join(get_args(kind))}]"
        elif get_origin(kind) is tuple:
            annotation = list[str] | None
        default = self.field.default
        option = typer.Option(
            *declared,
            help=self.field.description,
            metavar="PATH" if kind is Path else metavar,
            parser=path_parser(self.option) if kind is Path else None,
            show_default=False if default in (None, ()) else str(default),
            rich_help_panel=PANEL,
        )
        return inspect.Parameter(
            self.parameter, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[annotation, option]
        )

    def arguments(self, value: Any) -> list[str]:
        """Return the command-line words that set the field."""
        if self.kind is bool:
            return [self.option if value else f"--no-{self.option.removeprefix('--')}"]
        if isinstance(value, list | tuple):
            return [word for one in value for word in (self.option, str(one))]
        return [self.option, str(value)]


def flags(model: type[BaseModel] = Recipe, path: tuple[str, ...] = ()) -> Iterator[Flag]:
    """Yield one flag for every field, nested ones flattened."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from flags(field.annotation, (*path, name))
        else:
            yield Flag((*path, name), field)


def with_recipe_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Replace a command's parameter ``changes`` by the flags; the command gets those given, nested as in the recipe."""
    return _with_flags(command, list(flags()))


def with_training_flags(fields: Collection[str]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a decorator like :func:`with_recipe_flags` for some fields of the recipe's training part."""
    known = [flag for flag in flags(TrainingConfig, ("training",)) if flag.path[-1] in fields]
    return lambda command: _with_flags(command, known)


def _with_flags(command: Callable[..., None], known: Sequence[Flag]) -> Callable[..., None]:
    @wraps(command)
    def wrapped(**given: Any) -> None:
        changes: dict[str, Any] = {}
        for flag in known:
            value = given.pop(flag.parameter)
            if value is None or value == []:
                continue
            target = changes if len(flag.path) == 1 else changes.setdefault(flag.path[0], {})
            target[flag.path[-1]] = value
        command(changes=changes, **given)

    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in inspect.signature(command).parameters.values()
        if parameter.name != "changes"
    ]
    parameters = [*own, *(flag.signature() for flag in known)]
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapped


def recipe_arguments(recipe: Recipe) -> list[str]:
    """Return the flags that make this recipe out of the defaults."""
    words: list[str] = []
    for flag in flags():
        value: Any = recipe
        for name in flag.path:
            value = getattr(value, name)
        if value != flag.field.default:
            words += flag.arguments(value)
    return words
