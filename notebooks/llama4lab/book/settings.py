"""How Sphinx builds the book."""

from pathlib import Path

FOLDER = Path(__file__).parent
TITLE = "Inside Llama 4"

SETTINGS = {
    "project": TITLE,
    "author": "",
    "copyright": "",
    "language": "en",
    "extensions": ["myst_nb", "sphinx.ext.githubpages"],
    "exclude_patterns": ["extra/**"],
    "nb_execution_mode": "off",
    "nb_merge_streams": True,
    "nb_render_markdown_format": "myst",
    "nb_mime_priority_overrides": [("*", "text/html", 0)],
    "myst_enable_extensions": ["dollarmath"],
    "myst_heading_anchors": 3,
    "suppress_warnings": ["misc.highlighting_failure", "myst.header"],
    "html_theme": "sphinx_book_theme",
    "html_title": TITLE,
    "html_context": {"default_mode": "auto"},
    "html_theme_options": {
        "navbar_persistent": [],
        "max_navbar_depth": 1,
        "pygments_light_style": "a11y-high-contrast-light",
        "pygments_dark_style": "a11y-high-contrast-dark",
        "search_bar_text": "Search the course",
        "show_toc_level": 2,
        "home_page_in_toc": True,
        "use_download_button": False,
        "use_fullscreen_button": False,
        "back_to_top_button": False,  # it would cover text
        "footer_content_items": "extra-footer.html",
        "extra_footer": "Prose and figures: CC BY 4.0. Code and weights: Apache-2.0. Not affiliated with Meta.",
    },
    "html_static_path": [str(FOLDER / "static"), str(FOLDER / "mathjax")],
    "html_css_files": ["book.css"],
    "html_js_files": ["book.js", "enlarge.js", "scrolling.js", "search.js"],
    "html_favicon": str(FOLDER / "static" / "favicon.svg"),
    "html_copy_source": False,
    "html_show_sourcelink": False,
    "html_show_sphinx": False,
    "html_use_index": False,
    "html_domain_indices": False,
    "mathjax_path": "tex-svg-full.js",
    # The menu would load scripts that are not there; what a screen reader reads is in the page without it.
    "mathjax3_config": {"options": {"enableMenu": False}},
}
