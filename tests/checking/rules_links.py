"""Rules on links and images in Markdown."""

import re
from pathlib import Path
from urllib.parse import unquote

from llama4lab.store import read_notebook
from tests.checking.stored_notebooks import FENCED, Notebook

CODE = re.compile(rf"{FENCED.pattern}|`[^`\n]+`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
HTML_LINK = re.compile(r"<(a|img)\b[^>]*?\b(?:href|src)\s*=\s*[\"']([^\"']+)[\"'][^>]*>", re.IGNORECASE)
HTML_IMAGE_ALT = re.compile(r"\balt\s*=\s*[\"'][^\"']+[\"']", re.IGNORECASE)


def links_resolve(notebook: Notebook) -> list[str]:
    """Relative links lead to a file of the course, their anchors to a heading in it."""
    return broken_links("\n\n".join(cell.source for cell in notebook.prose), notebook.path, notebook.root)


def images_have_words(notebook: Notebook) -> list[str]:
    """Each image in prose has alt text."""
    return [problem for cell in notebook.prose for problem in images_without_alt(cell.source)]


def images_without_alt(markdown: str) -> list[str]:
    markdown = CODE.sub("", markdown)
    plain = [target for mark, alt, target in LINK.findall(markdown) if mark and not alt.strip()]
    plain += [m[2] for m in HTML_LINK.finditer(markdown) if m[1].lower() == "img" and not HTML_IMAGE_ALT.search(m[0])]
    return [f"the image {target} has no alt text" for target in plain]


def broken_links(markdown: str, file: Path, root: Path) -> list[str]:
    markdown = CODE.sub("", markdown)
    targets = [target for _, _, target in LINK.findall(markdown)]
    targets += [target for _, target in HTML_LINK.findall(markdown)]
    problems = []
    for target in targets:
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            if not target.startswith(("https://", "mailto:")):
                problems.append(f"the link {target} is neither https nor relative")
            continue
        name, _, anchor = target.partition("#")
        aim = (file.parent / unquote(name)).resolve() if name else file
        if not aim.exists():
            problems.append(f"the link {target} leads nowhere")
        elif not aim.is_relative_to(root.resolve()):
            problems.append(f"the link {target} leads out of the course")
        elif anchor and unquote(anchor) not in anchors(aim):
            problems.append(f"the link {target} names a heading that is not there")
    return problems


def anchors(file: Path) -> set[str]:
    """The anchors of a notebook's or Markdown file's headings, as JupyterLab and as GitHub form them."""
    if file.suffix == ".ipynb":
        markdown = "\n\n".join(cell.source for cell in read_notebook(file).cells if cell.cell_type == "markdown")
    else:
        markdown = file.read_text(encoding="utf-8")
    formed = set(re.findall(r"\bid\s*=\s*[\"']([^\"']+)", markdown))
    for heading in re.findall(r"^#{1,6}\s+(.+?)\s*#*$", markdown, re.MULTILINE):
        plain = re.sub(r"[*`]|(?<!\w)_|_(?!\w)", "", LINK.sub(r"\2", heading))
        formed |= {plain.replace(" ", "-"), re.sub(r"[^\w -]", "", plain.lower()).replace(" ", "-")}
    return formed
