"""From a checkpoint to files a device can run; needs neither torch nor, for csr, any optional package."""

from mast_edge.export.exporter import ExportReport, export_run

__all__ = ["ExportReport", "export_run"]
