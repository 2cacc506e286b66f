"""Sphinx's settings for the web edition. tools/website.py copies this beside the pages, with what differs from one
build to the next in settings.json: `site` (the address that the site will have, or ""), `repository` (or ""),
`playground` (whether the page is there)."""

import json
from pathlib import Path

told = json.loads(Path(__file__).with_name("settings.json").read_text(encoding="utf-8"))

project = "Base vs Instruct"
author = "The authors of Base vs Instruct"
extensions = ["myst_nb", "sphinx_copybutton", "sphinx_design", "sphinxext.opengraph"]
exclude_patterns = ["_static", "_templates"]
templates_path = ["_templates"]

html_theme = "furo"
html_title = project
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_favicon = "_static/favicon.svg"
html_baseurl = told["site"]
html_context = {"repository": told["repository"], "playground": told["playground"]}
html_copy_source = False
html_show_sourcelink = False
html_use_index = False
html_show_copyright = False
# The same grounds and lines as the playground's, and the course's blue for what can be clicked.
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#00639b",
        "color-brand-content": "#00639b",
        "color-brand-visited": "#00639b",
        "color-background-secondary": "#f6f6f4",
        "color-background-border": "#dddcd8",
        "color-foreground-primary": "#1a1a1a",
        "color-foreground-secondary": "#5a5a5a",
        "color-foreground-muted": "#6b6b6b",
        "accent-base": "#0072b2",
        "accent-instruct": "#d55e00",
        "accent-instruct-text": "#a84a00",
        "card": "#ffffff",
    },
    "dark_css_variables": {
        "color-brand-primary": "#6cb8ea",
        "color-brand-content": "#6cb8ea",
        "color-brand-visited": "#6cb8ea",
        "color-background-primary": "#131416",
        "color-background-secondary": "#1b1d20",
        "color-background-border": "#33353a",
        "color-foreground-primary": "#ecebe8",
        "color-foreground-secondary": "#b4b3af",
        "color-foreground-muted": "#a9a8a4",
        "accent-base": "#56b4e9",
        "accent-instruct": "#f0833a",
        "accent-instruct-text": "#f39a5f",
        "card": "#1b1d20",
    },
}

nb_execution_mode = "off"
nb_merge_streams = True
nb_code_prompt_show = "Show the {type}"
nb_code_prompt_hide = "Hide the {type}"
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4
suppress_warnings = [
    "myst.header",
    "misc.highlighting_failure",
    "myst.xref_missing",
    "mystnb.unknown_mime_type",
]
html_math_renderer = (
    "mathml"  # which browsers draw themselves; the default fetches a library from the network
)

copybutton_selector = "div:not(.output) > div.highlight > pre"  # what is to be run, not what was printed

# Link previews need full addresses: without one, they have a title and a description, and no picture.
ogp_site_url = told["site"]
ogp_image = told["site"] + "_static/preview.png" if told["site"] else None
ogp_image_alt = "The playground: one prompt, and what a base and an instruct model expect next."
ogp_social_cards = {"enable": False}
ogp_description_length = 180


def setup(app):
    """Formulas as MathML."""
    from docutils.nodes import SkipNode
    from latex2mathml.converter import convert

    def render(display):
        def visit(writer, node):
            drawn = convert(node.astext(), display=display)
            writer.body.append(
                f'<div class="math" tabindex="0">{drawn}</div>' if display == "block" else drawn
            )
            raise SkipNode

        return visit, None

    app.add_html_math_renderer("mathml", inline_renderers=render("inline"), block_renderers=render("block"))
