"""Seeded generators of requests: the families of the source paper and adversaries."""

from replay.workloads.catalogue import WORKLOADS, parse_workload
from replay.workloads.knobs import Parameter, Workload

__all__ = ["WORKLOADS", "Parameter", "Workload", "parse_workload"]
