"""Sources of data sets: a folder of the user's, or the copy bundled with the package."""

from pathlib import Path

from dsformer.errors import InputError

BUNDLED = Path(__file__).parent / "bundled"


def find_data(name: str, data_dir: Path | None = None) -> Path:
    """Find the folder that holds a data set.

    Args:
        name: name of the data set, which is also the name of its folder.
        data_dir: a folder of data sets; its folder `name` is preferred to the bundled copy.

    Raises:
        InputError: `data_dir` is not a folder, or the data set is in neither place.
    """
    if (folder := find_local(name, data_dir)) is not None:
        return folder
    if data_dir is not None:
        raise InputError(f"Data set {name!r} is not bundled: expected a folder {name!r} in {data_dir} (--data-dir)")
    raise InputError(f"Data set {name!r} is not bundled: --data-dir must name a folder that holds a folder {name!r}")


def find_local(name: str, data_dir: Path | None = None) -> Path | None:
    """Find the folder that `find_data` finds; None if the data set is in neither place.

    Raises:
        InputError: `data_dir` is not a folder.
    """
    if data_dir is not None:
        if not data_dir.is_dir():
            raise InputError(f"{data_dir} is not a folder; --data-dir names the folder that holds the data sets")
        if (data_dir / name).is_dir():
            return data_dir / name
    return BUNDLED / name if (BUNDLED / name).is_dir() else None


def find_file(folder: Path, *names: str) -> Path:
    """Find the first of `names` that exists in a data set's folder, plain or with `.gz` appended.

    Raises:
        InputError: none exists; the message lists the names that were expected.
    """
    if (path := find_optional(folder, *names)) is not None:
        return path
    raise InputError(f"{folder} has no {' or '.join(names)} (plain or with .gz appended)")


def find_optional(folder: Path, *names: str) -> Path | None:
    """Find the file that `find_file` finds; None if none of the names exists."""
    for name in names:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    return None
