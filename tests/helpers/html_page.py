"""Reads a page of the report, and what a text can contain at worst."""

from html.parser import HTMLParser

VOID = {"meta", "img", "br", "input", "link", "hr"}
INLINE = {"a", "b", "i", "span", "code", "img"}
CELLS = {"td", "th"}
EVIL = "\"><script>alert(1)</script><img src=x onerror=alert(2)>&lt;'</title></style>"


class Page(HTMLParser):
    """Checks that tags nest, and collects what matters.

    Attributes:
        tags: All, in order.
        images: Attributes of each picture.
        attributes: All names and values.
        ids: All, in order.
        text: What a reader sees, as it is in the file.
        lines: The same, one entry for each line or row of a table on the page.
        code: Content of every script and style element.
    """

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.images: list[dict[str, str]] = []
        self.attributes: list[tuple[str, str]] = []
        self.ids: list[str] = []
        self.text = ""
        self.code: dict[str, list[str]] = {"script": [], "style": []}
        self._lines = [""]
        self.feed(html)
        self.close()
        assert self.open == []
        self.lines = [line for line in (" ".join(line.split()) for line in self._lines) if line]

    def styles(self) -> list[str]:
        """All style attributes."""
        return [value for key, value in self.attributes if key == "style"]

    def links(self) -> list[str]:
        """Where links lead."""
        return [value for key, value in self.attributes if key == "href"]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = {key: value or "" for key, value in attrs}
        assert len(values) == len(attrs)
        self.attributes += list(values.items())
        self.ids += [values["id"]] if "id" in values else []
        if tag == "img":
            self.images.append(values)
        if tag not in VOID:
            self.open.append(tag)
        self._break_line(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self._break_line(tag)

    def _break_line(self, tag: str) -> None:
        if tag in CELLS:
            self._lines[-1] += " "
        elif tag not in INLINE:
            self._lines.append("")

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in self.code:
            self.code[self.open[-1]].append(data)
        else:
            self.text += data
            self._lines[-1] += data
