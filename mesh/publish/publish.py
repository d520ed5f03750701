from collections.abc import Callable
from mesh.publish.order import Fleet, Order


def publish(order: Order, fleet: Fleet | None, progress: Callable[[str], None]) -> Fleet:
    raise NotImplementedError


def retire(order: Order, fleet: Fleet, progress: Callable[[str], None]) -> None:
    raise NotImplementedError


def published(order: Order, fleet: Fleet) -> bool:
    raise NotImplementedError
