"""Reports: files, tables and pages, alike for every evaluation; names are resolved on first use."""

from typing import TYPE_CHECKING

from zim_plugins.faces import lazy_face

if TYPE_CHECKING:
    from zim_plugins.evaluation.report.aggregate import Comparison as Comparison
    from zim_plugins.evaluation.report.aggregate import build_report as build_report
    from zim_plugins.evaluation.report.aggregate import rows_by_group as rows_by_group
    from zim_plugins.evaluation.report.aggregate import short as short
    from zim_plugins.evaluation.report.csv import csv_text as csv_text
    from zim_plugins.evaluation.report.files import write_report as write_report
    from zim_plugins.evaluation.report.files import write_rows as write_rows
    from zim_plugins.evaluation.report.html import Figure as Figure
    from zim_plugins.evaluation.report.html import Section as Section
    from zim_plugins.evaluation.report.html import build_page as build_page
    from zim_plugins.evaluation.report.html import embedded as embedded
    from zim_plugins.evaluation.report.sections import comparison_sections as comparison_sections
    from zim_plugins.evaluation.report.sections import failures_section as failures_section
    from zim_plugins.evaluation.report.sections import provenance_section as provenance_section
    from zim_plugins.evaluation.report.tables import PUBLISHED_MARK as PUBLISHED_MARK
    from zim_plugins.evaluation.report.tables import Table as Table
    from zim_plugins.evaluation.report.tables import short_name as short_name

__all__, __getattr__ = lazy_face(
    __name__,
    {
        "aggregate": "Comparison build_report rows_by_group short",
        "csv": "csv_text",
        "files": "write_report write_rows",
        "html": "Figure Section build_page embedded",
        "sections": "comparison_sections failures_section provenance_section",
        "tables": "PUBLISHED_MARK Table short_name",
    },
)
