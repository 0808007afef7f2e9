"""Studies as job arrays: shares of the cells, elements, and how they are submitted."""
