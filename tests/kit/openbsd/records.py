"""What the stand-ins need of :mod:`dataclasses`, whose import takes half of a command's time."""

from __future__ import annotations

# Not typing's, which would have to be imported for it.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import dataclass, field
else:

    class _Made:
        """A default that is made anew for each record."""

        def __init__(self, make):
            self.make = make

    def field(*, default_factory):
        """A field whose default is made for each record."""
        return _Made(default_factory)

    def dataclass(kind):
        """A class whose objects are made of its fields, and are equal where these are."""
        names = tuple(kind.__annotations__)

        def begin(self, *given, **named):
            held = dict(zip(names, given, strict=False)) | named
            if len(given) > len(names) or not held.keys() <= set(names):
                raise TypeError(f"{kind.__name__} has {', '.join(names)}")
            for name in names:
                if name in held:
                    value = held[name]
                else:
                    value = kind.__dict__[name]
                    value = value.make() if isinstance(value, _Made) else value
                setattr(self, name, value)

        def same(self, other):
            return type(other) is kind and vars(self) == vars(other)

        kind.__init__, kind.__eq__, kind.__hash__ = begin, same, None
        return kind


__all__ = ["dataclass", "field"]
