"""The documentation site: `make docs`, or `sphinx-build -W docs DIR`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "panformer"
extensions = ["myst_parser", "reference"]
exclude_patterns = ["_ext", "_build"]
html_theme = "furo"
html_title = "panformer"
html_show_sphinx = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["docs.css"]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
# Links out of the folder lead to files of the repository, which the site does not hold.
suppress_warnings = ["myst.xref_missing", "myst.header"]
