"""The report: a page of figures, tables and sentences."""
