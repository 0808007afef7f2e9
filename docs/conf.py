"""The site of the documentation, built by `scripts/docs`. It loads nothing from the network."""

from __future__ import annotations

import sys
from pathlib import Path

import hpcsweep

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "hpcsweep"
copyright = "the authors of hpcsweep"
release = hpcsweep.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "docstrings", "pages"]
exclude_patterns = ["extensions", "figures"]
myst_heading_anchors = 4
smartquotes = False  # "--ranks" stays as it is typed
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_class_signature = "separated"
python_maximum_signature_line_length = 88
suppress_warnings = ["toc.empty_glob"]

html_theme = "pydata_sphinx_theme"
html_title = "hpcsweep"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_sidebars = {"index": [], "tutorial": []}
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
