"""How data is destroyed: the processes."""

from typing import Any

from suffuse.processes.base import Process, Time
from suffuse.processes.bridge import Bridge
from suffuse.processes.discrete import Discrete
from suffuse.processes.gaussian import Gaussian
from suffuse.processes.heat import Heat
from suffuse.processes.product import Product

PROCESSES: dict[str, type[Process[Any]]] = {
    "gaussian": Gaussian,
    "bridge": Bridge,
    "discrete": Discrete,
    "heat": Heat,
    "product": Product,
}
"""Every process by its name in a recipe; the law tests run over it."""

__all__ = ["PROCESSES", "Bridge", "Discrete", "Gaussian", "Heat", "Process", "Product", "Time"]
