"""Turning what Keras takes (a name, a class, an instance, a config) into an object: the one place for all kinds.

Names are looked up in plain tables of the classes that exist here, so nothing named by a file is ever imported.
"""

import difflib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from minicnn.errors import ConfigError
from minicnn.naming import snake_case
from minicnn.typing import Config

T = TypeVar("T")

LONGEST = 80
"""Characters of what was received that a message shows, at most."""


def table_of(*classes: type[T], aliases: Mapping[str, type[T]] | None = None) -> dict[str, type[T]]:
    """Every class under its own name and in snake case ("GlorotUniform", "glorot_uniform"), and under its aliases."""
    table = {name: cls for cls in classes for name in (cls.__name__, snake_case(cls.__name__))}
    return table | dict(aliases or {})


def resolve(
    kind: str,
    base: type[T],
    table: Mapping[str, type[T]],
    identifier: Any,
    custom_objects: Mapping[str, type] | None = None,
    owner: str = "",
) -> T:
    """The object that `identifier` stands for.

    identifier: an instance of base; a subclass of base, made with its defaults; a name of the table; or a config
    {"class_name": name, "config": arguments}, as in Keras's files. custom_objects: the caller's own classes by name.
    kind: "optimizer", "loss", ... for messages. owner: who asks, and for which argument, if messages are to begin with
    that: "Conv2D 'conv2d_3': activation". Raises ConfigError for anything else.
    """
    where = owner or kind
    if isinstance(identifier, base):
        return identifier
    if isinstance(identifier, type) and issubclass(identifier, base):
        return identifier()
    if isinstance(identifier, str):
        return class_named(kind, base, table, identifier, custom_objects, owner)()
    if isinstance(identifier, Mapping) and isinstance(identifier.get("class_name"), str):
        cls = class_named(kind, base, table, identifier["class_name"], custom_objects, owner)
        config: Config = dict(identifier.get("config") or {})
        make: Callable[[Config], T] = getattr(cls, "from_config", lambda c: cls(**c))
        try:
            return make(config)
        except TypeError as error:  # a key that the constructor does not know, or a required one that is missing
            raise ConfigError(f"{where}: {cls.__name__} cannot be made from {config!r}: {error}.") from None
    hint = ""
    if hasattr(identifier, "forward") and hasattr(identifier, "build"):
        hint = " A layer stands on its own: put it behind this one."
    elif callable(identifier) and hasattr(base, "gradient"):
        hint = f" A plain function has no derivative here: subclass minicnn's {base.__name__} with value and gradient."
    got = " ".join(repr(identifier).split())  # an array's has several lines
    got = got if len(got) <= LONGEST else f"{got[:LONGEST]}..."
    raise ConfigError(f"{where}: expected a name, {_article(base)} or its class, got {got}.{hint}")


def initialized(thing: T, attribute: str, arguments: str = "") -> T:
    """thing, unless a subclass's constructor did not call that of its base, which sets the attribute: ConfigError."""
    if attribute not in vars(thing):
        raise ConfigError(f"{type(thing).__name__}: call super().__init__({arguments}) at the start of __init__.")
    return thing


def class_named(
    kind: str,
    base: type[T],
    table: Mapping[str, type[T]],
    name: str,
    custom_objects: Mapping[str, type] | None = None,
    owner: str = "",
) -> type[T]:
    """The class of that name: the caller's own, else the table's. Raises ConfigError with the nearest names.

    kind and owner: as in resolve.
    """
    where = owner or kind
    custom = (custom_objects or {}).get(name)
    if custom is not None:
        if not (isinstance(custom, type) and issubclass(custom, base)):
            raise ConfigError(
                f"{where}: custom_objects[{name!r}] must be a subclass of {base.__name__}, got {custom!r}."
            )
        return custom
    if name in table:
        return table[name]
    near = difflib.get_close_matches(name, table, n=1)
    guess = f"; did you mean {near[0]!r}?" if near else "."
    known = [n for n in table if n == n.lower()] or table  # layers have names in CamelCase only
    raise ConfigError(f"{where}: unknown name {name!r}{guess} Known: {', '.join(sorted(known))}.")


def _article(base: type) -> str:
    """ "a Loss", "an Activation"."""
    return f"{'an' if base.__name__[0] in 'AEIOU' else 'a'} {base.__name__}"
