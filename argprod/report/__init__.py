"""The HTML report: one file that opens offline, from the runs of an experiment."""

from argprod.report.model import ReportInput, report_input
from argprod.report.page import write_report

__all__ = ["ReportInput", "report_input", "write_report"]
