"""Reads a page of the report, and what a text can contain at worst."""

from html.parser import HTMLParser

VOID = {"meta", "img", "br", "input", "link", "hr"}
EVIL = "\"><script>alert(1)</script><img src=x onerror=alert(2)>&lt;'</title></style>"


class Page(HTMLParser):
    """Checks that tags nest, and collects what matters."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.images: list[dict[str, str]] = []
        self.attributes: list[tuple[str, str]] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

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

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.text += data
